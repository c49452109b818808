"""Results of earlier jobs, taken over by new ones that would compute the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from archpress_server.jobs.database import Database, Lock, lock
from archpress_server.jobs.errors import FilesUnavailableError
from archpress_server.jobs.files import Files
from archpress_server.jobs.model import JobResult, State, Submission, new_id
from archpress_server.jobs.rows import Row
from archpress_server.jobs.schema import artifacts, jobs
from archpress_server.jobs.serialise import result_from_json


@dataclass(frozen=True)
class EarlierResult:
    """The result of a job that succeeded, with the rows of its artifacts."""

    result: JobResult
    artifacts: Sequence[Row]


def find_result(
    database: Database, files: Files, submission: Submission, now: float
) -> EarlierResult | None:
    """Return the newest result of the principal's that a job can take over, if there is one.

    Only the principal's own: a job that ends at once would tell that somebody else has the network.
    """
    if not submission.result_key:
        return None
    query = (
        sa.select(jobs.c.id, jobs.c.result)
        .where(
            jobs.c.result_key == submission.result_key,
            jobs.c.principal == submission.principal,
            jobs.c.state == State.SUCCEEDED,
            jobs.c.delete_time.is_(None),
            jobs.c.expire_time > now,
        )
        .order_by(jobs.c.end_time.desc(), jobs.c.id.desc())
        .limit(1)
    )
    with database.read() as connection:
        job = connection.execute(query).one_or_none()
        if job is None:
            return None
        parts = sa.select(artifacts).where(artifacts.c.job == job.id)
        rows = connection.execute(parts).mappings().all()
    found = EarlierResult(result_from_json(json.loads(job.result)), rows)
    try:
        whole = all(files.check(row["sha256"], row["size_bytes"]) for row in rows)
    except FilesUnavailableError:
        return None
    return found if whole else None


def take_result(connection: sa.Connection, earlier: EarlierResult) -> bool:
    """Keep an earlier result from being purged to the transaction's end; False if it was."""
    lock(connection, Lock.FILES, shared=True)
    ids = [row["id"] for row in earlier.artifacts]
    query = sa.select(sa.func.count()).where(artifacts.c.id.in_(ids))
    return connection.scalar(query) == len(ids)


def copy_result(
    connection: sa.Connection, earlier: EarlierResult, job: str, now: float
) -> JobResult:
    """Give a job artifacts of its own on the files of an earlier result, and return its result."""
    names = {"": ""} | {row["id"]: new_id() for row in earlier.artifacts}
    connection.execute(
        artifacts.insert(),
        [
            {**row, "id": names[row["id"]], "job": job, "create_time": now}
            for row in earlier.artifacts
        ],
    )
    return replace(
        earlier.result,
        artifact=names[earlier.result.artifact],
        front=tuple(names[artifact] for artifact in earlier.result.front),
        int8=names[earlier.result.int8],
    )
