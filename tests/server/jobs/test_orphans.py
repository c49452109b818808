"""Files that lose their rows, never get any, or get them in the nick of time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import sqlalchemy as sa

from archpress_server.compress.types import Compression
from archpress_server.jobs import orphans
from archpress_server.jobs.checkpoints import load_checkpoint, save_checkpoint
from archpress_server.jobs.errors import FilesUnavailableError
from archpress_server.jobs.files import Files, file_name
from archpress_server.jobs.leases import Leases
from archpress_server.jobs.model import State, Submission
from archpress_server.jobs.orphans import keep, put_loose, remove_orphans
from archpress_server.jobs.schema import loose_files

pytestmark = pytest.mark.both_databases

CONTENT = b"a model"
SHA256 = file_name(CONTENT)


def loose(leases: Leases) -> list[str]:
    with leases.store.database.read() as connection:
        return list(connection.scalars(sa.select(loose_files.c.sha256)))


def remove(leases: Leases, now: float) -> int:
    return remove_orphans(leases.store.database, leases.store.files, lambda: now)


def test_a_file_whose_row_never_came_is_removed_after_an_hour(leases: Leases) -> None:
    put_loose(leases.store.database, leases.store.files, [CONTENT], now=1000.0)
    assert remove(leases, 4500.0) == 0
    assert leases.store.files.check(SHA256, len(CONTENT))
    assert remove(leases, 4700.0) == 1
    assert not leases.store.files.check(SHA256, len(CONTENT))
    assert loose(leases) == []


def test_storing_again_puts_the_removal_off(leases: Leases) -> None:
    for now in (1000.0, 4000.0):
        put_loose(leases.store.database, leases.store.files, [CONTENT], now=now)
    assert remove(leases, 4700.0) == 0
    assert remove(leases, 7700.0) == 1


def test_a_stale_attempt_leaves_an_orphan_and_a_result_none(
    leases: Leases, submission: Submission, with_all: Compression
) -> None:
    job = leases.store.create(submission).id
    leases.lease_next("w")
    assert leases.succeed(job, 7, with_all) is None
    assert len(loose(leases)) == 3
    assert leases.succeed(job, 1, with_all) is not None
    assert loose(leases) == []
    assert remove(leases, leases.store.clock() + 10_000) == 0
    assert leases.store.files.check(file_name(with_all.model), len(with_all.model))


def test_a_file_that_was_removed_in_between_is_stored_again(
    leases: Leases,
    submission: Submission,
    compression: Compression,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = leases.store.create(submission).id
    leases.lease_next("w")
    with monkeypatch.context() as patched:
        patched.setattr(orphans, "_GRACE_SECONDS", -1.0)
        put_loose(leases.store.database, leases.store.files, [compression.model], 0.0)
        assert remove(leases, 1.0) == 1
        with (
            pytest.raises(FilesUnavailableError, match="before a row named it"),
            leases.store.database.write() as connection,
        ):
            keep(connection, leases.store.files, [compression.model], 1.0)
    record = leases.succeed(job, 1, compression)
    assert record is not None
    assert record.state is State.SUCCEEDED
    assert leases.store.files.check(file_name(compression.model), len(compression.model))


def test_what_is_named_is_there_however_eager_the_removal(
    leases: Leases, submission: Submission
) -> None:
    store, ended, turns = leases.store, threading.Event(), threading.Semaphore(0)
    removing = threading.Lock()
    jobs = [store.create(submission).id for _ in range(3)]
    for _ in jobs:
        leases.lease_next("w")

    def clear_away() -> int:
        """Remove twice for every turn, whatever the machine's speed, and once at the end."""
        removed = 0
        while True:
            turns.acquire()
            last = ended.is_set()
            with removing:
                # So late that what was just stored is due.
                removed += remove(leases, store.clock() + 10_000)
            if last:
                return removed

    def work(job: str) -> int:
        """Name the same two files in turn, as all the others do; fail twice a removal at most."""
        again = 0
        for turn in range(12):
            content = b"even" if turn % 2 else b"odd"
            turns.release(2)
            while True:
                try:
                    save_checkpoint(store, job, 1, "a", content)
                    break
                except FilesUnavailableError:
                    again += 1
                    with removing:
                        pass
            assert load_checkpoint(store, job, "a") == content
        return again

    with ThreadPoolExecutor() as pool:
        clearing = pool.submit(clear_away)
        try:
            again = sum(pool.map(work, jobs))
        finally:
            ended.set()
            turns.release()
        removed = clearing.result()
    assert removed > 0
    assert again < 1000


class Away:
    """Files that cannot be removed at the moment."""

    def clear(self) -> None:
        pass

    def delete(self, sha256: str) -> None:
        raise FilesUnavailableError("away")


class Slow:
    """Files whose removal takes until it is let go."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self.asked, self.go_on = threading.Event(), threading.Event()

    def delete(self, sha256: str) -> None:
        self.asked.set()
        assert self.go_on.wait(30)
        self._files.delete(sha256)


def test_a_store_that_is_slow_to_remove_holds_up_no_transaction(
    leases: Leases, submission: Submission
) -> None:
    database, files = leases.store.database, leases.store.files
    slow = Slow(files)
    put_loose(database, files, [CONTENT], now=0.0)
    with ThreadPoolExecutor() as pool:
        removing = pool.submit(remove_orphans, database, slow, lambda: 1e6)  # type: ignore[arg-type]
        try:
            assert slow.asked.wait(30)
            assert leases.store.create(submission).state is State.QUEUED
            # Meanwhile nobody stores it again, names it or removes it too.
            with pytest.raises(FilesUnavailableError, match="being removed"):
                put_loose(database, files, [CONTENT], now=1e6)
            with (
                pytest.raises(FilesUnavailableError, match="being removed"),
                database.write() as connection,
            ):
                keep(connection, files, [CONTENT], 1e6)
            assert remove(leases, 1e6 + 1) == 0
            assert files.check(SHA256, len(CONTENT))
        finally:
            slow.go_on.set()
        assert removing.result() == 1
    assert loose(leases) == []
    put_loose(database, files, [CONTENT], now=1e6)
    assert files.check(SHA256, len(CONTENT))


class _Killed(BaseException):
    pass


class Dying(Away):
    """Files of a server that ends while it removes one."""

    def delete(self, sha256: str) -> None:
        raise _Killed


def test_what_a_server_that_is_gone_had_claimed_is_removed(leases: Leases) -> None:
    database, files = leases.store.database, leases.store.files
    put_loose(database, files, [CONTENT], now=0.0)
    with pytest.raises(_Killed):
        remove_orphans(database, Dying(), lambda: 1e6)  # type: ignore[arg-type]
    assert remove(leases, 1e6 + 599) == 0
    assert remove(leases, 1e6 + 601) == 1
    assert not files.check(SHA256, len(CONTENT))


def test_what_cannot_be_removed_now_is_removed_later(
    leases: Leases, submission: Submission, compression: Compression
) -> None:
    job = leases.store.create(submission).id
    leases.lease_next("w")
    leases.succeed(job, 1, compression)
    leases.store.delete(job)
    away = replace(leases, store=replace(leases.store, files=Away()))  # type: ignore[arg-type]
    with pytest.raises(FilesUnavailableError):
        away.purge(deleted_before_seconds=0)
    sha256 = file_name(compression.model)
    assert loose(leases) == [sha256]
    assert leases.purge() == 0
    assert not leases.store.files.check(sha256, len(compression.model))


def test_a_removal_stops_between_two_files(leases: Leases) -> None:
    contents = [b"1", b"2", b"3"]
    put_loose(leases.store.database, leases.store.files, contents, now=0.0)
    answers = iter([False, True])
    removed = remove_orphans(
        leases.store.database,
        leases.store.files,
        lambda: 1e6,
        should_stop=lambda: next(answers),
    )
    assert removed == 1
    assert len(loose(leases)) == 2
