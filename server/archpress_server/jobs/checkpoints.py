"""Parts of a job's work that its next attempt goes on with, fenced by the attempt's number."""

from __future__ import annotations

import sqlalchemy as sa

from archpress_server.jobs.database import Lock, lock
from archpress_server.jobs.errors import StaleAttemptError
from archpress_server.jobs.files import file_name
from archpress_server.jobs.orphans import keep, let_go, put_loose
from archpress_server.jobs.rows import held_job
from archpress_server.jobs.schema import checkpoints
from archpress_server.jobs.store import JobStore


def save_checkpoint(store: JobStore, job: str, attempt: int, part: str, content: bytes) -> None:
    """Keep a part of a job in the place of what it was.

    Raises:
        StaleAttemptError: the attempt no longer holds the job.
        FilesUnavailableError: it cannot be stored at the moment.
    """
    put_loose(store.database, store.files, [content], store.clock())
    sha256 = file_name(content)
    this = sa.and_(checkpoints.c.job == job, checkpoints.c.part == part)
    with store.database.write() as connection:
        if held_job(connection, job, attempt) is None:
            raise StaleAttemptError(f"attempt {attempt} of job {job} is over")
        earlier = connection.scalar(sa.select(checkpoints.c.sha256).where(this))
        connection.execute(checkpoints.delete().where(this))
        lock(connection, Lock.FILES, shared=True)
        # In the order of their names, as all do, so that no two wait for one another.
        if earlier is not None and earlier < sha256:
            let_go(connection, [earlier])
        keep(connection, store.files, [content], store.clock())
        if earlier is not None and earlier > sha256:
            let_go(connection, [earlier])
        connection.execute(
            checkpoints.insert().values(
                job=job, part=part, sha256=sha256, size_bytes=len(content), attempt=attempt
            )
        )


def load_checkpoint(store: JobStore, job: str, part: str) -> bytes | None:
    """Return a part as it was last saved, or None if it never was.

    Raises:
        FilesUnavailableError: it cannot be read at the moment.
        ValueError: its file is damaged or missing.
    """
    query = sa.select(checkpoints).where(checkpoints.c.job == job, checkpoints.c.part == part)
    with store.database.read() as connection:
        row = connection.execute(query).mappings().one_or_none()
    if row is None:
        return None
    try:
        content = store.files.read(row["sha256"], 0, row["size_bytes"])
    except FileNotFoundError:
        raise ValueError(f"the file {row['sha256']} is missing") from None
    if file_name(content) != row["sha256"]:
        raise ValueError(f"the file {row['sha256']} is damaged")
    return content
