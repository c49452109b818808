"""Files that no row names: noted before they can become so, removed once they are due.

A file is written before the transaction that names it. Between the two it is loose: its row in
`loose_files` says when it may be removed if nobody names it by then. So no store is ever listed,
and what another database keeps in it is left alone. Who removes a file claims it first: meanwhile
nobody stores or names it, and no transaction waits for the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import takewhile

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from archpress_server.jobs.database import Database, Lock, lock
from archpress_server.jobs.errors import FilesUnavailableError
from archpress_server.jobs.files import Files, file_name
from archpress_server.jobs.schema import artifacts, checkpoints, loose_files, uploads

_GRACE_SECONDS = 3600.0
"""Time between the writing of a file and the transaction that names it."""

_AT_ONCE = 0.0

_CLAIM_SECONDS = 600.0
"""After which whoever claimed a file is taken to be gone; no store is asked for so long."""

_MOST = 1000
"""Files that are removed at one time."""


def put_loose(database: Database, files: Files, contents: Iterable[bytes], now: float) -> None:
    """Store bytes that a transaction is about to name.

    Raises:
        FilesUnavailableError: they cannot be stored, or one is just being removed.
    """
    by_name = {file_name(content): content for content in contents}
    if not by_name:
        return
    with database.write() as connection:
        lock(connection, Lock.FILES, shared=True)
        _check_claims(connection, by_name, now)
        _note(connection, by_name, now + _GRACE_SECONDS)
    for content in by_name.values():
        files.put(content)


def keep(connection: sa.Connection, files: Files, contents: Iterable[bytes], now: float) -> None:
    """Keep files that this transaction names.

    Raises:
        FilesUnavailableError: one was removed since it was stored, or is being; store it again.
    """
    sizes = {file_name(content): len(content) for content in contents}
    # Nobody claims a file while this is held, so what is there now stays.
    lock(connection, Lock.FILES, shared=True)
    _check_claims(connection, sizes, now)
    for sha256 in sorted(sizes):
        # The note may be that of another, who has yet to store the same file.
        if not files.check(sha256, sizes[sha256]):
            raise FilesUnavailableError("a file was removed before a row named it")
        connection.execute(loose_files.delete().where(loose_files.c.sha256 == sha256))


def let_go(connection: sa.Connection, names: Iterable[str]) -> None:
    """Note files that this transaction ceases to name."""
    _note(connection, names, _AT_ONCE)


def remove_orphans(
    database: Database,
    files: Files,
    clock: Callable[[], float],
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> int:
    """Remove files that nobody names and that are due, until it should stop; return how many.

    Raises:
        FilesUnavailableError: one could not be removed; it stays noted.
    """
    due = sa.select(loose_files.c.sha256).where(_is_due(clock())).limit(_MOST)
    with database.read() as connection:
        names = connection.scalars(due).all()
    wanted = takewhile(lambda _: not should_stop(), names)
    # Each with a time of its own: a store may take long, and a claim counts from when it is made.
    return sum(_remove(database, files, sha256, clock()) for sha256 in wanted)


def _remove(database: Database, files: Files, sha256: str, now: float) -> bool:
    if not _claim(database, sha256, now):
        return False
    claimed = sa.and_(loose_files.c.sha256 == sha256, loose_files.c.claim_time == now)
    try:
        files.delete(sha256)
    except FilesUnavailableError:
        with database.write() as connection:
            connection.execute(loose_files.update().where(claimed).values(claim_time=None))
        raise
    with database.write() as connection:
        connection.execute(loose_files.delete().where(claimed))
    return True


def _claim(database: Database, sha256: str, now: float) -> bool:
    """Return whether a file is due and nobody names it; from then on nobody can."""
    noted = sa.and_(loose_files.c.sha256 == sha256, _is_due(now))
    with database.write() as connection:
        lock(connection, Lock.FILES)
        # First, so that who ceases to name the file meanwhile waits to note it again.
        claim = loose_files.update().where(noted).values(claim_time=now)
        if connection.execute(claim).rowcount == 0:
            return False
        if not _is_named(connection, sha256):
            return True
        connection.execute(loose_files.delete().where(loose_files.c.sha256 == sha256))
        return False


def _is_due(now: float) -> sa.ColumnElement[bool]:
    return sa.and_(loose_files.c.due_time < now, sa.not_(_is_claimed(now)))


def _is_claimed(now: float) -> sa.ColumnElement[bool]:
    claim = loose_files.c.claim_time
    return sa.and_(claim.is_not(None), claim > now - _CLAIM_SECONDS)


def _check_claims(connection: sa.Connection, names: Iterable[str], now: float) -> None:
    wanted = loose_files.c.sha256.in_(list(names))
    query = sa.select(loose_files.c.sha256).where(wanted, _is_claimed(now)).limit(1)
    if connection.execute(query).first() is not None:
        raise FilesUnavailableError("a file is just being removed")


def _is_named(connection: sa.Connection, sha256: str) -> bool:
    queries = (
        sa.select(table.c.sha256).where(table.c.sha256 == sha256).limit(1)
        for table in (artifacts, checkpoints, uploads)
    )
    return any(connection.execute(query).first() is not None for query in queries)


def _note(connection: sa.Connection, names: Iterable[str], due_time: float) -> None:
    """Note files; one that is noted already keeps the later time."""
    # In one order for all, so that no two transactions wait for one another.
    rows = [{"sha256": sha256, "due_time": due_time} for sha256 in sorted(set(names))]
    if not rows:
        return
    on_postgresql = connection.dialect.name == "postgresql"
    insert = (postgresql.insert if on_postgresql else sqlite.insert)(loose_files)
    old, new = loose_files.c.due_time, insert.excluded.due_time
    later = sa.case((old > new, old), else_=new)
    connection.execute(
        insert.on_conflict_do_update(index_elements=["sha256"], set_={"due_time": later}), rows
    )
