"""Steps inside a transaction: read a job, append to its log, change its state."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import sqlalchemy as sa

from archpress_server.jobs.errors import JobUnreadableError
from archpress_server.jobs.model import (
    HELD,
    INTERNAL,
    ArtifactRecord,
    Event,
    EventKind,
    JobError,
    JobRecord,
    JobSpec,
    Payload,
    State,
)
from archpress_server.jobs.orphans import let_go
from archpress_server.jobs.queue import queue_positions
from archpress_server.jobs.schema import artifacts, checkpoints, events, jobs, uploads
from archpress_server.jobs.serialise import (
    dumps,
    error_from_json,
    error_to_json,
    payload_from_json,
    payload_to_json,
    progress_from_json,
    result_from_json,
    spec_from_text,
)
from archpress_trainer.space.costs import Costs
from archpress_trainer.space.graph import Architecture

Row = Mapping[Any, Any]

# Made once: SQLAlchemy takes longer to build it than SQLite to answer it.
_JOB = sa.select(jobs).where(jobs.c.id == sa.bindparam("job"))


_JOBS = sa.select(jobs).where(jobs.c.id.in_(sa.bindparam("wanted", expanding=True)))


def select_jobs(connection: sa.Connection, wanted: Sequence[str]) -> Sequence[Row]:
    """Return the rows of those of these jobs that there are, deleted ones too."""
    return connection.execute(_JOBS, {"wanted": wanted}).mappings().all()


def select_job(connection: sa.Connection, job: str, *, lock: bool = False) -> Row | None:
    """Return a job's row, deleted ones too; None if there is none."""
    query = _JOB.with_for_update() if lock else _JOB
    row = connection.execute(query, {"job": job}).mappings().one_or_none()
    return None if row is None else dict(row)


def to_record(row: Row, queue_position: int = 0) -> JobRecord:
    """Return the job of a row."""
    progress, result, error = row["progress"], row["result"], row["error"]
    return JobRecord(
        id=row["id"],
        state=State(row["state"]),
        spec=spec_from_text(row["spec"]),
        create_time=row["create_time"],
        progress=progress and progress_from_json(json.loads(progress)),
        result=result and result_from_json(json.loads(result)),
        error=error and error_from_json(json.loads(error)),
        start_time=row["start_time"],
        end_time=row["end_time"],
        expire_time=row["expire_time"],
        cancel_time=row["cancel_time"],
        attempt=row["attempt"],
        last_seq=row["last_seq"],
        queue_position=queue_position,
        run_seconds=row["run_seconds"],
        principal=row["principal"],
        cached_result=row["cached_result"],
    )


def try_records(
    connection: sa.Connection, rows: Sequence[Row]
) -> list[JobRecord | JobUnreadableError]:
    """Return the jobs of rows with their places in the queue, or the errors of `try_record`."""
    queued = [row["id"] for row in rows if row["state"] == State.QUEUED]
    places = queue_positions(connection, queued) if queued else {}
    return [try_record(row, places.get(row["id"], 0)) for row in rows]


def try_record(row: Row, queue_position: int = 0) -> JobRecord | JobUnreadableError:
    """Return the job of a row, or the error where it is of another version."""
    try:
        return to_record(row, queue_position)
    except (LookupError, TypeError, ValueError):
        final = State(row["state"]).final
        return JobUnreadableError(row["id"], row["principal"], final=final)


def to_event(row: Row, spec: JobSpec) -> Event:
    """Return the event of a row of a job with this specification."""
    kind = EventKind(row["kind"])
    payload = payload_from_json(kind, json.loads(row["payload"]), row["job"], spec)
    return Event(row["job"], row["seq"], row["time"], kind, payload)


def held_job(connection: sa.Connection, job: str, attempt: int) -> Row | None:
    """Return the row of a job that this attempt holds, locked."""
    row = select_job(connection, job, lock=True)
    if row is None or row["state"] not in HELD or row["attempt"] != attempt:
        return None
    return row


def to_artifact(row: Row) -> ArtifactRecord:
    """Return the artifact of an upload's row, or of one with its job's time and principal."""
    return ArtifactRecord(
        id=row["id"],
        sha256=row["sha256"],
        size_bytes=row["size_bytes"],
        architecture=Architecture.from_json(json.loads(row["architecture"])),
        costs=Costs(**json.loads(row["costs"])),
        job=row.get("job", ""),
        create_time=row["create_time"],
        expire_time=row["expire_time"],
        principal=row["principal"],
        display_name=row.get("display_name", ""),
    )


def select_artifact(connection: sa.Connection, artifact: str) -> Row | None:
    """Return the row of an upload, or of an artifact and its job unless that is deleted."""
    query = (
        sa.select(artifacts, jobs.c.expire_time, jobs.c.principal)
        .join(jobs, jobs.c.id == artifacts.c.job)
        .where(artifacts.c.id == artifact, jobs.c.delete_time.is_(None))
    )
    upload = sa.select(uploads).where(uploads.c.id == artifact)
    return (
        connection.execute(query).mappings().one_or_none()
        or connection.execute(upload).mappings().one_or_none()
    )


def queue_position(connection: sa.Connection, row: Row) -> int:
    """Return a queued job's place, 1 being next; 0 in other states."""
    if row["state"] != State.QUEUED:
        return 0
    return queue_positions(connection, [row["id"]])[row["id"]]


def insert_event(
    connection: sa.Connection, job: str, seq: int, time: float, kind: EventKind, payload: Payload
) -> None:
    """Write an entry of a job's log; the row's `last_seq` is the caller's to write."""
    connection.execute(
        events.insert().values(
            job=job, seq=seq, time=time, kind=kind, payload=dumps(payload_to_json(payload))
        )
    )


def run_seconds(row: Row, time: float) -> float:
    """Return how long a held job ran; since the last sign of life at most up to its lease's end."""
    return float(
        row["run_seconds"] + max(0.0, min(time, row["lease_until"]) - row["run_counted_until"])
    )


def change(
    connection: sa.Connection, row: Row, time: float, retention_seconds: float, **values: Any
) -> JobRecord:
    """Change a job and append the snapshot, or the completed event, that says so."""
    new = {**row, **values, "last_seq": row["last_seq"] + 1}
    state = State(new["state"])
    if state not in HELD:
        if row["run_counted_until"] is not None:
            new["run_seconds"] = run_seconds(row, time)
        new |= {"run_counted_until": None, "lease_until": None, "worker": None}
    if state.final:
        new |= {"end_time": time, "expire_time": time + retention_seconds}
        _drop_checkpoints(connection, row["id"])
    changed = {name: value for name, value in new.items() if value != row[name]}
    connection.execute(jobs.update().where(jobs.c.id == row["id"]).values(**changed))
    record = to_record(new, queue_position(connection, new))
    kind = EventKind.COMPLETED if state.final else EventKind.SNAPSHOT
    insert_event(connection, row["id"], new["last_seq"], time, kind, record)
    return record


def end_unreadable(
    connection: sa.Connection, row: Row, time: float, retention_seconds: float
) -> None:
    """Fail a job that this version cannot read, without reading it, and say so in its log."""
    message = "the job is of another version of the server, which this one cannot read"
    error = error_to_json(JobError(INTERNAL, message))
    ended = {
        "state": State.FAILED,
        "error": dumps(error),
        "progress": None,
        "result": None,
        "end_time": time,
        "expire_time": time + retention_seconds,
        "last_seq": row["last_seq"] + 1,
        "run_counted_until": None,
        "lease_until": None,
        "worker": None,
    }
    connection.execute(jobs.update().where(jobs.c.id == row["id"]).values(**ended))
    _drop_checkpoints(connection, row["id"])
    told = {item.name for item in fields(JobRecord)} - {"id", "spec"}
    payload = {name: value for name, value in {**row, **ended}.items() if name in told}
    connection.execute(
        events.insert().values(
            job=row["id"],
            seq=ended["last_seq"],
            time=time,
            kind=EventKind.COMPLETED,
            payload=dumps({**payload, "error": error}),
        )
    )


def _drop_checkpoints(connection: sa.Connection, job: str) -> None:
    """Remove what only another attempt could use."""
    of_job = checkpoints.c.job == job
    let_go(connection, connection.scalars(sa.select(checkpoints.c.sha256).where(of_job)).all())
    connection.execute(checkpoints.delete().where(of_job))
