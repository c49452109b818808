"""`JobStore`: creates, reads, cancels and deletes jobs on behalf of callers."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from archpress_server.jobs.database import Database, Lock, lock
from archpress_server.jobs.errors import (
    ArtifactNotFoundError,
    JobNotFoundError,
    JobUnreadableError,
    PageTokenError,
    PrincipalQuotaError,
    QueueFullError,
    RequestIdReusedError,
)
from archpress_server.jobs.files import Files
from archpress_server.jobs.model import (
    HELD,
    ArtifactRecord,
    Event,
    JobRecord,
    OnDisconnect,
    Page,
    State,
    Submission,
    new_id,
)
from archpress_server.jobs.result_cache import (
    EarlierResult,
    copy_result,
    find_result,
    take_result,
)
from archpress_server.jobs.rows import (
    Row,
    change,
    queue_position,
    select_artifact,
    select_job,
    select_jobs,
    to_artifact,
    to_event,
    to_record,
    try_records,
)
from archpress_server.jobs.schema import events, jobs, labels
from archpress_server.jobs.serialise import (
    dumps,
    result_to_json,
    spec_from_text,
    spec_to_json,
    submission_digest,
)

_BATCH = 500
"""Events that one read of a log returns at most."""

_ARRIVAL_SECONDS = 5.0
"""In which whoever creates a job begins to watch it."""

_MAX_TOKEN = 200
"""Characters of a page token; one that nests deeper than JSON's reader can go is longer."""

_EVENTS = (
    sa.select(events)
    .where(events.c.job == sa.bindparam("job"), events.c.seq > sa.bindparam("after"))
    .order_by(events.c.seq)
    .limit(_BATCH)
)


@dataclass(frozen=True)
class Counts:
    """How many jobs there are by state, and for how long the oldest queued one has waited."""

    states: Mapping[State, int]
    oldest_queued_seconds: float


@dataclass(frozen=True)
class JobStore:
    """The jobs of a database, as callers see them; safe in any number of threads and processes."""

    database: Database
    files: Files
    max_queued_jobs: int = 1000
    max_queued_jobs_per_principal: int = 0
    """0 sets no limit."""
    retention_seconds: float = 7 * 86_400.0
    clock: Callable[[], float] = time.time
    observe_cache: Callable[[JobRecord], None] = lambda job: None
    """Told of each new job that looked for an earlier result."""

    def earlier_result(self, submission: Submission) -> EarlierResult | None:
        """Return the result that a job can take over, if its files are there, as the store says."""
        return find_result(self.database, self.files, submission, self.clock())

    def create(self, submission: Submission, cached: EarlierResult | None = None) -> JobRecord:
        """Store a job, or return the one that the same request made before.

        A job whose `cached` result is there already ends with it at once.

        Raises:
            RequestIdReusedError: the request_id belongs to another request.
            QueueFullError: too many jobs are waiting.
            PrincipalQuotaError: too many of the principal's jobs are waiting.
            ArtifactNotFoundError: the uploaded model is gone.
        """
        spec = submission.spec
        with self.database.write() as connection:
            # Two that create at one time would each find no job of the request, and room.
            lock(connection, Lock.CREATE)
            now = self.clock()
            earlier = _earlier(connection, submission)
            if earlier is not None:
                return to_record(earlier, queue_position(connection, earlier))
            if spec.artifact:
                # Not removed while this transaction lasts, nor later as long as there is the job.
                lock(connection, Lock.UPLOAD)
                if select_artifact(connection, spec.artifact) is None:
                    raise ArtifactNotFoundError(spec.artifact)
            if cached is not None and not take_result(connection, cached):
                cached = None
            if cached is None:
                self._check_room(connection, submission.principal)
            job = _insert(connection, submission, now)
            record = self._change(connection, job)
            if cached is not None:
                result = dumps(result_to_json(copy_result(connection, cached, job, now)))
                record = self._change(
                    connection, job, state=State.SUCCEEDED, result=result, cached_result=True
                )
        if submission.result_key:
            self.observe_cache(record)
        return record

    def get(self, job: str) -> JobRecord:
        """Return a job.

        Raises:
            JobNotFoundError: there is none, or it was deleted.
            JobUnreadableError: it is of another version of the server.
        """
        with self.database.read() as connection:
            row = _existing(select_job(connection, job), job)
            (found,) = try_records(connection, [row])
        if isinstance(found, JobUnreadableError):
            raise found
        return found

    def get_all(self, wanted: Sequence[str]) -> dict[str, JobRecord | JobUnreadableError]:
        """Return those of these jobs that there are, at one moment, or why they cannot be read."""
        with self.database.read() as connection:
            rows = [row for row in select_jobs(connection, wanted) if row["delete_time"] is None]
            found = try_records(connection, rows)
        return {row["id"]: record for row, record in zip(rows, found, strict=True)}

    def traceparent(self, job: str) -> str:
        """Return the span that a job was created in; empty without one."""
        query = sa.select(jobs.c.traceparent).where(jobs.c.id == job)
        with self.database.read() as connection:
            return connection.scalar(query) or ""

    def list(
        self,
        *,
        size: int = 100,
        token: str = "",
        states: Iterable[State] = (),
        with_labels: Mapping[str, str] | None = None,
        principal: str | None = None,
    ) -> Page:
        """Return jobs, newest first, in one of these states and with all of these labels.

        With a `principal` only those of that one. Jobs that this version cannot read are left out.

        Raises:
            PageTokenError: the token is not one of an earlier page with the same filters.
        """
        wanted = sorted(set(states))
        marks = dict(with_labels or {})
        kind = {"states": wanted, "labels": marks, "principal": principal}
        filters = hashlib.sha256(dumps(kind).encode()).hexdigest()
        query = sa.select(jobs).where(jobs.c.delete_time.is_(None))
        if wanted:
            query = query.where(jobs.c.state.in_(wanted))
        if principal is not None:
            query = query.where(jobs.c.principal == principal)
        for key, text in marks.items():
            mark = sa.select(labels.c.job).where(labels.c.key == key, labels.c.value == text)
            query = query.where(jobs.c.id.in_(mark))
        if token:
            create_time, last = _read_token(token, filters)
            age = sa.tuple_(jobs.c.create_time, jobs.c.id)
            query = query.where(age < sa.tuple_(create_time, last))
        query = query.order_by(jobs.c.create_time.desc(), jobs.c.id.desc()).limit(size + 1)
        with self.database.read() as connection:
            rows = connection.execute(query).mappings().all()
            found = try_records(connection, rows[:size])
        page = tuple(job for job in found if isinstance(job, JobRecord))
        more = len(rows) > size > 0
        return Page(page, _token(rows[size - 1], filters) if more else "")

    def events_after(self, job: str, seq: int) -> tuple[Event, ...]:
        """Return the next events of a job's log in order, of a deleted job too.

        Raises:
            JobNotFoundError: there is no such job any more.
        """
        with self.database.read() as connection:
            row = select_job(connection, job)
            if row is None:
                raise JobNotFoundError(job)
            spec = spec_from_text(row["spec"])
            found = connection.execute(_EVENTS, {"job": job, "after": seq}).mappings()
            return tuple(to_event(event, spec) for event in found)

    def last_seqs(self, wanted: Sequence[str]) -> dict[str, int]:
        """Return the number of the newest event of each of these jobs that is still there."""
        query = sa.select(jobs.c.id, jobs.c.last_seq).where(jobs.c.id.in_(wanted))
        with self.database.read() as connection:
            return {row.id: row.last_seq for row in connection.execute(query)}

    def request_cancel(self, job: str) -> JobRecord:
        """Ask a job to stop; a job that no worker holds is cancelled at once.

        Raises:
            JobNotFoundError: there is none, or it was deleted.
        """
        with self.database.write() as connection:
            row = _existing(select_job(connection, job, lock=True), job)
            return self.cancel_row(connection, row)

    def cancel_row(self, connection: sa.Connection, row: Row) -> JobRecord:
        """Do the work of `request_cancel` inside a transaction."""
        state, now = State(row["state"]), self.clock()
        if state.final or state is State.CANCELLING:
            return to_record(row)
        record = change(
            connection, row, now, self.retention_seconds, state=State.CANCELLING, cancel_time=now
        )
        if state is State.RUNNING:
            return record
        return self._change(connection, row["id"], state=State.CANCELLED)

    def delete(self, job: str) -> JobRecord:
        """Hide a job from all but those who watch it, cancelling it first; return its last form.

        Its rows and files go with the next `Leases.purge`.

        Raises:
            JobNotFoundError: there is none, or it was deleted.
        """
        with self.database.write() as connection:
            row = _existing(select_job(connection, job, lock=True), job)
            record = self.cancel_row(connection, row)
            if record.state in HELD:
                record = self._change(connection, job, state=State.CANCELLED)
            connection.execute(
                jobs.update()
                .where(jobs.c.id == job)
                .values(delete_time=self.clock(), request_id=None)
            )
            return record

    def watched(self, job: str, *, renew_seconds: float) -> None:
        """Put off a job's abandonment: somebody watches, and says so every `renew_seconds`."""
        until = self.clock() + renew_seconds
        with self.database.write() as connection:
            connection.execute(
                jobs.update()
                .where(jobs.c.id == job, jobs.c.abandon_grace_seconds.is_not(None))
                .values(abandon_time=jobs.c.abandon_grace_seconds + until)
            )

    def is_abandonable(self, job: str) -> bool:
        """Return whether a job is cancelled when its watchers leave."""
        with self.database.read() as connection:
            row = select_job(connection, job)
            return row is not None and row["abandon_grace_seconds"] is not None

    def artifact(self, artifact: str) -> ArtifactRecord:
        """Return the description of an artifact.

        Raises:
            ArtifactNotFoundError: there is none, or its job was deleted.
        """
        with self.database.read() as connection:
            row = select_artifact(connection, artifact)
        if row is None:
            raise ArtifactNotFoundError(artifact)
        return to_artifact(row)

    def counts(self) -> Counts:
        """Return how many jobs there are."""
        by_state = sa.select(jobs.c.state, sa.func.count()).group_by(jobs.c.state)
        # The newest event of a queued job that has run says that it is queued again.
        newest = sa.and_(events.c.job == jobs.c.id, events.c.seq == jobs.c.last_seq)
        queued = sa.case((jobs.c.start_time.is_(None), jobs.c.create_time), else_=events.c.time)
        oldest = (
            sa.select(sa.func.min(queued)).join(jobs, newest).where(jobs.c.state == State.QUEUED)
        )
        with self.database.read() as connection:
            found = {State(state): count for state, count in connection.execute(by_state)}
            since = connection.scalar(oldest)
        waited = 0.0 if since is None else max(0.0, self.clock() - since)
        return Counts({state: found.get(state, 0) for state in State}, waited)

    def _check_room(self, connection: sa.Connection, principal: str) -> None:
        waiting = sa.select(sa.func.count()).where(jobs.c.state == State.QUEUED)
        own_limit = self.max_queued_jobs_per_principal
        if own_limit:
            own = connection.scalar(waiting.where(jobs.c.principal == principal)) or 0
            if own >= own_limit:
                raise PrincipalQuotaError(principal, own_limit)
        if (connection.scalar(waiting) or 0) >= self.max_queued_jobs:
            raise QueueFullError(self.max_queued_jobs)

    def _change(self, connection: sa.Connection, job: str, **values: Any) -> JobRecord:
        row = select_job(connection, job)
        assert row is not None
        return change(connection, row, self.clock(), self.retention_seconds, **values)


def _existing(row: Row | None, job: str) -> Row:
    if row is None or row["delete_time"] is not None:
        raise JobNotFoundError(job)
    return row


def _earlier(connection: sa.Connection, submission: Submission) -> Row | None:
    """Return the row of the job that the same request made, locked; None if there is none.

    Raises:
        RequestIdReusedError: the request_id belongs to another request.
    """
    if not submission.request_id:
        return None
    query = sa.select(jobs).where(
        jobs.c.principal == submission.principal, jobs.c.request_id == submission.request_id
    )
    found = connection.execute(query.with_for_update()).mappings().one_or_none()
    if found is not None and found["request_digest"] != _digest_then(submission, found):
        raise RequestIdReusedError(submission.request_id, found["id"])
    return found


def _insert(connection: sa.Connection, submission: Submission, now: float) -> str:
    """Add the rows of a new job that is queued, and return its id."""
    spec, job = submission.spec, new_id()
    abandon = submission.on_disconnect is OnDisconnect.CANCEL_IF_ABANDONED
    grace = submission.abandon_grace_seconds if abandon else None
    wait = spec.max_queue_time_seconds
    connection.execute(
        jobs.insert().values(
            id=job,
            principal=submission.principal,
            request_id=submission.request_id or None,
            request_digest=submission_digest(submission),
            state=State.QUEUED,
            priority=spec.priority,
            spec=dumps(spec_to_json(spec)),
            create_time=now,
            max_run_seconds=spec.max_run_time_seconds,
            queue_deadline=None if wait is None else now + wait,
            abandon_grace_seconds=grace,
            abandon_time=None if grace is None else now + grace + _ARRIVAL_SECONDS,
            result_key=submission.result_key or None,
            upload=spec.artifact or None,
            traceparent=submission.traceparent or None,
        )
    )
    if spec.labels:
        marks = [{"job": job, "key": key, "value": text} for key, text in spec.labels.items()]
        connection.execute(labels.insert(), marks)
    return job


def _digest_then(submission: Submission, earlier: Row) -> str:
    """Return the digest that an earlier job has if the same request made it."""
    if not submission.has_default_run_time:
        return submission_digest(submission)
    spec = replace(submission.spec, max_run_time_seconds=earlier["max_run_seconds"])
    return submission_digest(replace(submission, spec=spec))


def _token(last: Row, filters: str) -> str:
    text = json.dumps([last["create_time"], last["id"], filters[:16]])
    return base64.urlsafe_b64encode(text.encode()).decode()


def _read_token(token: str, filters: str) -> tuple[float, str]:
    try:
        if len(token) > _MAX_TOKEN:
            raise ValueError
        create_time, job, made_for = json.loads(base64.urlsafe_b64decode(token.encode()))
        if made_for != filters[:16]:
            raise PageTokenError("is of a list with other filters")
        if not math.isfinite(create_time):
            raise ValueError
        return float(create_time), str(uuid.UUID(job))
    except (ValueError, TypeError, AttributeError):
        raise PageTokenError("is not a token of an earlier page") from None
