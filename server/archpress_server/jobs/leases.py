"""`Leases`: who works on which job, fenced by the attempt's number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from enum import Enum, auto
from functools import partial
from typing import Any

import sqlalchemy as sa
import structlog

from archpress_server.compress.types import Budget, Candidate, Compression, Progress
from archpress_server.jobs.clock import Steadiness
from archpress_server.jobs.database import Lock, lock
from archpress_server.jobs.errors import StaleAttemptError
from archpress_server.jobs.files import file_name
from archpress_server.jobs.model import (
    HELD,
    TIMED_OUT,
    WORKER_LOST,
    EventKind,
    JobError,
    JobRecord,
    JobResult,
    LogLine,
    Severity,
    State,
    new_id,
)
from archpress_server.jobs.orphans import keep, let_go, put_loose, remove_orphans
from archpress_server.jobs.queue import next_in_queue
from archpress_server.jobs.rows import (
    Row,
    change,
    end_unreadable,
    held_job,
    insert_event,
    run_seconds,
    try_record,
)
from archpress_server.jobs.schema import artifacts, events, jobs
from archpress_server.jobs.serialise import (
    dumps,
    error_to_json,
    progress_to_json,
    result_to_json,
)
from archpress_server.jobs.store import JobStore
from archpress_server.jobs.uploads import Uploads
from archpress_trainer.space.costs import Costs
from archpress_trainer.space.graph import Architecture

_ROLLOUT_SECONDS = 3600.0
"""Time in which servers of several versions may share the jobs."""

_UNDRAWN = ('"accuracy":null', '"waypoint":null')
"""What the JSON of a progress holds that no report draws."""


class Signal(Enum):
    """What the job's row tells the worker that holds it."""

    GO_ON = auto()
    CANCEL = auto()
    STALE = auto()


@dataclass(frozen=True)
class Leases:
    """The worker's and the supervisor's side of a store.

    Every write of a worker carries its attempt: once the job was given to another attempt, ended
    or deleted, it changes nothing. Of a job's progress about the newest `kept_progress` events
    stay in its log, and what reports draw, accuracies and points of the descent; other old ones are
    coalesced for every watcher. At most
    `max_running_jobs_per_principal` jobs of a principal run at one time; 0 sets no limit. For a
    lease after the clock jumped, nothing is taken from anybody for being late.
    """

    store: JobStore
    lease_seconds: float = 30.0
    max_attempts: int = 2
    kept_progress: int = 1000
    max_running_jobs_per_principal: int = 0
    steadiness: Steadiness = field(default_factory=Steadiness, compare=False)

    def lease_next(self, worker: str) -> JobRecord | None:
        """Give the next job of the queue to a worker: it is RUNNING in its next attempt.

        It is the oldest of the most urgent ones of the principal whose turn it is.
        """
        query = next_in_queue(self.max_running_jobs_per_principal)
        # An idle server asks often; only with a job in sight does it take the lock.
        with self.store.database.read() as connection:
            if connection.execute(query.with_only_columns(jobs.c.id)).first() is None:
                return None
        with self.store.database.write() as connection:
            # Two that lease at one time would each find a principal below its limit.
            lock(connection, Lock.LEASE)
            query = query.with_for_update(of=jobs, skip_locked=True)
            row = self._first_readable(connection, query)
            if row is None:
                return None
            now = self.store.clock()
            return self._change(
                connection,
                row,
                state=State.RUNNING,
                attempt=row["attempt"] + 1,
                start_time=row["start_time"] or now,
                run_counted_until=now,
                lease_until=now + self.lease_seconds,
                worker=worker,
            )

    def heartbeat(self, job: str, attempt: int) -> Signal:
        """Extend a lease and return what the worker should do."""
        with self.store.database.write() as connection:
            row = held_job(connection, job, attempt)
            if row is None:
                return Signal.STALE
            now = self.store.clock()
            connection.execute(
                jobs.update()
                .where(jobs.c.id == job)
                .values(
                    lease_until=now + self.lease_seconds,
                    run_counted_until=now,
                    run_seconds=run_seconds(row, now),
                )
            )
            return Signal.CANCEL if row["state"] == State.CANCELLING else Signal.GO_ON

    def append(self, job: str, attempt: int, payload: Progress | Candidate | LogLine) -> int:
        """Append to a job's log and return the event's number.

        Raises:
            StaleAttemptError: the attempt no longer holds the job.
        """
        with self.store.database.write() as connection:
            row = held_job(connection, job, attempt)
            if row is None:
                raise StaleAttemptError(f"attempt {attempt} of job {job} is over")
            return self._append(connection, row, payload)

    def succeed(self, job: str, attempt: int, compression: Compression) -> JobRecord | None:
        """End a job with its result; None if the attempt no longer holds it.

        A job that was asked to stop is CANCELLED, whatever came of it.
        """
        return self._finish(job, attempt, State.SUCCEEDED, compression=compression)

    def fail(
        self,
        job: str,
        attempt: int,
        error: JobError,
        *,
        best: Compression | None = None,
        nearest_budget: Budget | None = None,
    ) -> JobRecord | None:
        """End a job with an error and the best result there is; None as in `succeed`."""
        return self._finish(
            job, attempt, State.FAILED, error=error, compression=best, nearest_budget=nearest_budget
        )

    def cancelled(self, job: str, attempt: int) -> JobRecord | None:
        """End a job whose worker stopped on request; None as in `succeed`."""
        return self._finish(job, attempt, State.CANCELLED)

    def requeue(
        self,
        job: str,
        attempt: int,
        cause: str = "the worker was stopped",
        *,
        began: bool = True,
    ) -> JobRecord | None:
        """Give a job back for a cause that is not the job's; it does not count as lost.

        One that never `began` in any attempt still waits for its first start.
        """
        with self.store.database.write() as connection:
            row = held_job(connection, job, attempt)
            if row is None:
                return None
            if not began:
                # Without a worker it did not run either.
                unset = {"run_counted_until": None}
                unset |= {} if row["run_seconds"] else {"start_time": None}
                row = {**row, **unset}
                connection.execute(jobs.update().where(jobs.c.id == job).values(**unset))
            return self._give_back(connection, row, cause, lost=0)

    def lose(self, job: str, attempt: int, cause: str) -> JobRecord | None:
        """Take a job from a worker that is gone: queued again, or FAILED after the last attempt."""
        with self.store.database.write() as connection:
            row = held_job(connection, job, attempt)
            return None if row is None else self._give_back(connection, row, cause, lost=1)

    def expire(self) -> list[JobRecord]:
        """Take the jobs whose workers have been silent for a whole lease."""
        now = self.store.clock()
        # A lease from the time before a clock was put back would not end for long: its last sign
        # of life is later than now, by more than the lease, which is as long as its server says.
        lease = jobs.c.lease_until - jobs.c.run_counted_until
        over = sa.or_(jobs.c.lease_until < now, jobs.c.run_counted_until - now > lease)
        late = sa.and_(jobs.c.state.in_(HELD), over)
        return self._sweep(
            late, lambda c, row: self._give_back(c, row, "the worker fell silent", lost=1)
        )

    def time_out(self) -> list[JobRecord]:
        """End the jobs that ran or waited for longer than they may."""
        now = self.store.clock()
        alive = sa.case((jobs.c.lease_until < now, jobs.c.lease_until), else_=now)
        ran = sa.and_(
            jobs.c.state == State.RUNNING,
            jobs.c.run_seconds + alive - jobs.c.run_counted_until > jobs.c.max_run_seconds,
        )
        waited = sa.and_(
            jobs.c.state == State.QUEUED,
            jobs.c.start_time.is_(None),
            jobs.c.queue_deadline < now,
        )
        ended = self._sweep(ran, lambda c, row: self._time_out(c, row, "max_run_time"))
        return ended + self._sweep(waited, lambda c, row: self._time_out(c, row, "max_queue_time"))

    def cancel_abandoned(self) -> list[JobRecord]:
        """Cancel the jobs that nobody watches and that should not outlive their watchers."""
        left = sa.and_(
            jobs.c.state.in_((State.QUEUED, State.RUNNING)),
            jobs.c.abandon_time < self.store.clock(),
        )
        return self._sweep(left, self.store.cancel_row)

    def purge(
        self,
        *,
        deleted_before_seconds: float = 60.0,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> int:
        """Remove expired and deleted jobs and uploads with logs and files; return how many.

        It stops between two steps, of which there may be thousands, when it should.

        Raises:
            FilesUnavailableError: files could not be removed; the next call goes on with them.
        """
        now = self.store.clock()
        if self._has_jumped(now):
            return 0
        found = 0
        for step in (partial(self._purge_jobs, now, deleted_before_seconds), self._purge_uploads):
            while not should_stop() and (removed := step()):
                found += removed
        store = self.store
        remove_orphans(store.database, store.files, store.clock, should_stop=should_stop)
        store.files.clear()
        return found

    def _purge_uploads(self) -> int:
        return Uploads(self.store).purge()

    def _purge_jobs(self, now: float, deleted_before_seconds: float) -> int:
        gone = sa.or_(jobs.c.expire_time < now, jobs.c.delete_time <= now - deleted_before_seconds)
        with self.store.database.write() as connection:
            query = sa.select(jobs.c.id).where(gone).limit(100)
            found = connection.scalars(query.with_for_update(skip_locked=True)).all()
            if not found:
                return 0
            files = connection.scalars(
                sa.select(artifacts.c.sha256).where(artifacts.c.job.in_(found))
            ).all()
            connection.execute(jobs.delete().where(jobs.c.id.in_(found)))
            let_go(connection, files)
        return len(found)

    def _finish(
        self,
        job: str,
        attempt: int,
        state: State,
        *,
        error: JobError | None = None,
        compression: Compression | None = None,
        nearest_budget: Budget | None = None,
    ) -> JobRecord | None:
        models = [] if compression is None else _models(compression)
        put_loose(self.store.database, self.store.files, models, self.store.clock())
        with self.store.database.write() as connection:
            row = held_job(connection, job, attempt)
            if row is None:
                return None
            if row["state"] == State.CANCELLING:
                return self._change(connection, row, state=State.CANCELLED)
            values: dict[str, Any] = {"state": state}
            if error is not None:
                values["error"] = dumps(error_to_json(error))
            if compression is not None:
                keep(connection, self.store.files, models, self.store.clock())
                result = self._name_files(connection, job, compression)
                result = replace(result, nearest_budget=nearest_budget)
                values["result"] = dumps(result_to_json(result))
            return self._change(connection, row, **values)

    def _name_files(
        self, connection: sa.Connection, job: str, compression: Compression
    ) -> JobResult:
        """Make each file of a compression an artifact and return what refers to them."""

        def name(model: bytes, architecture: Architecture, costs: Costs) -> str:
            artifact = new_id()
            connection.execute(
                artifacts.insert().values(
                    id=artifact,
                    job=job,
                    sha256=file_name(model),
                    size_bytes=len(model),
                    architecture=dumps(architecture.to_json()),
                    costs=dumps(asdict(costs)),
                    create_time=self.store.clock(),
                )
            )
            return artifact

        architecture, costs = compression.architecture, compression.costs_after
        int8 = compression.int8
        artifact = name(compression.model, architecture, costs)
        smaller = [name(m.model, m.architecture, m.costs) for m in compression.front[1:]]
        return JobResult(
            artifact,
            replace(
                compression,
                model=b"",
                front=tuple(replace(model, model=b"") for model in compression.front),
                int8=int8 and replace(int8, model=b""),
            ),
            front=(artifact, *smaller) if compression.front else (),
            int8="" if int8 is None else name(int8.model, architecture, costs),
        )

    def _append(
        self, connection: sa.Connection, row: Row, payload: Progress | Candidate | LogLine
    ) -> int:
        job, seq = row["id"], int(row["last_seq"]) + 1
        values: dict[str, Any] = {"last_seq": seq}
        kind = EventKind.LOG
        if isinstance(payload, Progress):
            kind = EventKind.PROGRESS
            values["progress"] = dumps(progress_to_json(payload))
        elif isinstance(payload, Candidate):
            kind = EventKind.CANDIDATE
        connection.execute(jobs.update().where(jobs.c.id == job).values(**values))
        insert_event(connection, job, seq, self.store.clock(), kind, payload)
        if seq % (self.kept_progress // 10 + 1) == 0:
            connection.execute(
                events.delete().where(
                    events.c.job == job,
                    events.c.seq <= seq - self.kept_progress,
                    events.c.kind == EventKind.PROGRESS,
                    *(events.c.payload.contains(part) for part in _UNDRAWN),
                )
            )
        return seq

    def _give_back(
        self, connection: sa.Connection, row: Row, cause: str, *, lost: int
    ) -> JobRecord:
        if row["state"] == State.CANCELLING:
            return self._change(connection, row, state=State.CANCELLED)
        count = row["lost_attempts"] + lost
        if count >= self.max_attempts:
            message = f"{cause}; the job was tried {count} times"
            error = JobError(WORKER_LOST, message, {"attempts": str(count)})
            return self._change(
                connection,
                row,
                state=State.FAILED,
                lost_attempts=count,
                error=dumps(error_to_json(error)),
            )
        line = LogLine(Severity.WARNING, f"attempt {row['attempt']}: {cause}")
        seq = self._append(connection, row, line)
        return self._change(
            connection, {**row, "last_seq": seq}, state=State.QUEUED, lost_attempts=count
        )

    def _time_out(self, connection: sa.Connection, row: Row, limit: str) -> JobRecord:
        error = JobError(TIMED_OUT, f"the job took longer than its {limit}", {"limit": limit})
        return self._change(connection, row, state=State.FAILED, error=dumps(error_to_json(error)))

    def _sweep(
        self,
        condition: sa.ColumnElement[bool],
        act: Callable[[sa.Connection, Row], JobRecord],
    ) -> list[JobRecord]:
        if self._has_jumped(self.store.clock()):
            return []
        query = sa.select(jobs).where(condition).limit(100)
        with self.store.database.read() as connection:
            if connection.execute(query.with_only_columns(jobs.c.id)).first() is None:
                return []
        with self.store.database.write() as connection:
            rows = connection.execute(query.with_for_update(skip_locked=True)).mappings().all()
            return [act(connection, row) for row in rows if self._is_readable(connection, row)]

    def _first_readable(self, connection: sa.Connection, query: sa.Select[Any]) -> Row | None:
        passed_over: list[str] = []
        while True:
            others = query.where(jobs.c.id.not_in(passed_over))
            row = connection.execute(others).mappings().one_or_none()
            if row is None or self._is_readable(connection, row):
                return row
            passed_over.append(row["id"])

    def _is_readable(self, connection: sa.Connection, row: Row) -> bool:
        """Return whether this version can read a job; end one that nobody seems to be able to.

        While a newer version is rolled out, its servers take their jobs themselves.
        """
        if isinstance(try_record(row), JobRecord):
            return True
        now = self.store.clock()
        newest = sa.select(events.c.time).where(
            events.c.job == row["id"], events.c.seq == row["last_seq"]
        )
        if now - (connection.scalar(newest) or row["create_time"]) > _ROLLOUT_SECONDS:
            structlog.get_logger().error("a job of another version is ended", job=row["id"])
            end_unreadable(connection, row, now, self.store.retention_seconds)
        return False

    def _has_jumped(self, now: float) -> bool:
        """Whether the clock was set less than a lease ago: time for the living to tell so."""
        return self.steadiness.seconds(now) < self.lease_seconds

    def _change(self, connection: sa.Connection, row: Row, **values: Any) -> JobRecord:
        return change(connection, row, self.store.clock(), self.store.retention_seconds, **values)


def _models(compression: Compression) -> list[bytes]:
    """Return the bytes of every file of a compression."""
    int8 = [] if compression.int8 is None else [compression.int8.model]
    return [compression.model, *(model.model for model in compression.front[1:]), *int8]
