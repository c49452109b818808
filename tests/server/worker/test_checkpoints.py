"""Checkpoints of a job: kept for the next attempt, fenced, and gone with the end."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from archpress_server.compress.checkpoints import CheckpointStore, NoCheckpoints
from archpress_server.compress.types import Compression
from archpress_server.config import ServerConfig
from archpress_server.jobs.errors import StaleAttemptError
from archpress_server.jobs.files import file_name
from archpress_server.jobs.leases import Leases
from archpress_server.jobs.model import JobError, State, Submission
from archpress_server.jobs.schema import checkpoints, loose_files
from archpress_server.worker.checkpoints import JobCheckpoints

pytestmark = pytest.mark.both_databases


@pytest.fixture
def job(leases: Leases, submission: Submission) -> str:
    """A job in its second attempt."""
    job = leases.store.create(submission).id
    leases.lease_next("w")
    leases.requeue(job, 1)
    leases.lease_next("w")
    return job


def of(leases: Leases, job: str, attempt: int = 2, every_seconds: float = 1000) -> JobCheckpoints:
    return JobCheckpoints(
        leases.store, job, attempt, every_seconds=every_seconds, patience_seconds=0.1
    )


def rows(leases: Leases) -> list[str]:
    with leases.store.database.read() as connection:
        return list(connection.scalars(sa.select(checkpoints.c.part)))


def file_of(config: ServerConfig, content: bytes) -> Path:
    sha256 = file_name(content)
    return config.state_dir / "artifacts" / sha256[:2] / sha256


@pytest.fixture(params=["none", "off", "job"])
def any_store(request: pytest.FixtureRequest, leases: Leases, job: str) -> CheckpointStore:
    stores: dict[str, CheckpointStore] = {
        "none": NoCheckpoints(),
        "off": of(leases, job, every_seconds=0),
        "job": of(leases, job),
    }
    return stores[request.param]


def test_a_store_gives_back_the_newest_or_nothing(
    any_store: CheckpointStore, leases: Leases
) -> None:
    assert any_store.load("a") is None
    assert not any_store.due()
    for content in (b"1", b"2", b"2"):
        any_store.save("a", content)
    keeps = bool(rows(leases))
    assert any_store.load("a") == (b"2" if keeps else None)
    assert any_store.load("b") is None


def test_a_job_without_checkpoints_writes_none(leases: Leases, job: str) -> None:
    of(leases, job, every_seconds=0).save("a", b"1")
    assert rows(leases) == []
    of(leases, job).save("a", b"1")
    assert rows(leases) == ["a"]


def test_the_next_attempt_finds_all_parts(leases: Leases, job: str) -> None:
    of(leases, job).save("a", b"1")
    of(leases, job).save("b", b"other")
    of(leases, job).save("a", b"2")
    leases.lose(job, 2, "gone")
    leases.lease_next("w")
    assert of(leases, job, 3).load("a") == b"2"
    assert of(leases, job, 3).load("b") == b"other"
    leases.purge()
    assert not leases.store.files.check(file_name(b"1"), 1)
    assert of(leases, job, 3).load("a") == b"2"


def test_a_stale_attempt_changes_nothing(leases: Leases, job: str) -> None:
    of(leases, job).save("a", b"new")
    for attempt in (1, 3):
        with pytest.raises(StaleAttemptError):
            of(leases, job, attempt).save("a", b"stale")
    assert of(leases, job).load("a") == b"new"


@pytest.mark.parametrize("end", ["succeed", "fail", "cancel", "delete"])
def test_a_final_job_has_none(
    leases: Leases, job: str, compression: Compression, end: str, config: ServerConfig
) -> None:
    of(leases, job).save("a", b"1")
    of(leases, job).save("b", b"2")
    if end == "succeed":
        leases.succeed(job, 2, compression)
    elif end == "fail":
        leases.fail(job, 2, JobError("INTERNAL", "x"))
    elif end == "cancel":
        leases.cancelled(job, 2)
    else:
        leases.store.delete(job)
    assert rows(leases) == []
    leases.purge()
    assert not file_of(config, b"1").exists()
    assert not file_of(config, b"2").exists()
    with leases.store.database.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(loose_files)) == 0


def test_equal_parts_of_two_jobs_are_one_file(
    leases: Leases, job: str, submission: Submission
) -> None:
    other = leases.store.create(submission).id
    leases.lease_next("w")
    of(leases, job).save("a", b"same")
    of(leases, other, 1).save("a", b"same")
    leases.cancelled(other, 1)
    leases.purge()
    assert of(leases, job).load("a") == b"same"


def test_a_damaged_or_missing_file_is_ignored_and_logged(
    leases: Leases, job: str, config: ServerConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    of(leases, job).save("a", b"whole")
    file_of(config, b"whole").write_bytes(b"whale")
    assert of(leases, job).load("a") is None
    file_of(config, b"whole").unlink()
    assert of(leases, job).load("a") is None
    logged = capsys.readouterr()
    text = logged.out + logged.err
    assert "is damaged" in text
    assert "is missing" in text
    of(leases, job).save("a", b"whole")
    assert of(leases, job).load("a") == b"whole"


def test_a_store_that_comes_back_costs_nothing(
    leases: Leases, job: str, config: ServerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archpress_server.worker.patience._RETRY_SECONDS", 0.02)
    of(leases, job).save("a", b"hours of work")
    folder, elsewhere = config.state_dir / "artifacts", config.state_dir / "elsewhere"
    folder.rename(elsewhere)
    back = threading.Timer(0.2, lambda: elsewhere.rename(folder))
    back.start()
    patient = JobCheckpoints(leases.store, job, 2, every_seconds=1000, patience_seconds=30.0)
    assert patient.load("a") == b"hours of work"
    back.join()


def test_a_store_that_is_away_costs_the_checkpoint_only(
    leases: Leases, job: str, config: ServerConfig
) -> None:
    kept = of(leases, job)
    kept.save("a", b"before")
    (config.state_dir / "artifacts").rename(config.state_dir / "elsewhere")
    kept.save("a", b"lost")
    assert kept.load("a") is None
    (config.state_dir / "elsewhere").rename(config.state_dir / "artifacts")
    assert kept.load("a") == b"before"


def test_snapshots_come_at_their_time_and_take_a_twentieth_of_it_at_most(
    leases: Leases, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def slow(*_: object) -> None:
        nonlocal now
        now += 10.0

    monkeypatch.setattr("archpress_server.worker.checkpoints.save_checkpoint", slow)
    kept = JobCheckpoints(
        leases.store, job, 2, every_seconds=30, patience_seconds=0, clock=lambda: now
    )
    now = 29.0
    assert not kept.due()
    now = 30.0
    assert kept.due()
    kept.save("a", b"")
    now = 239.0
    assert not kept.due()
    now = 240.0
    assert kept.due()


def test_the_last_snapshot_is_taken_at_the_next_step(leases: Leases, job: str) -> None:
    kept = of(leases, job)
    assert not kept.due()
    heart = threading.Thread(target=kept.save_last, args=(10.0,))
    heart.start()
    while not kept.due():
        time.sleep(0.01)
    kept.save("a", b"last")
    heart.join(5.0)
    assert not heart.is_alive()
    assert not kept.due()
    assert kept.load("a") == b"last"


def test_a_slow_step_is_waited_for(leases: Leases, job: str) -> None:
    now = 0.0
    kept = JobCheckpoints(
        leases.store, job, 2, every_seconds=1000, patience_seconds=0, clock=lambda: now
    )
    kept.due()
    now = 20.0
    kept.due()
    now = 50.0
    heart = threading.Thread(target=kept.save_last, args=(10.0,))
    heart.start()
    heart.join(0.3)
    assert heart.is_alive()
    assert kept.due()
    kept.save("a", b"last")
    heart.join(5.0)
    assert not heart.is_alive()


def test_nobody_waits_where_nothing_is_trained(leases: Leases, job: str) -> None:
    began = time.monotonic()
    of(leases, job).save_last(10.0)
    of(leases, job, every_seconds=0).save_last(10.0)
    assert time.monotonic() - began < 9.0


def test_an_attempt_that_is_the_first_has_nothing_to_load(
    leases: Leases, submission: Submission
) -> None:
    job = leases.store.create(submission).id
    leases.lease_next("w")
    assert of(leases, job, 1).load("a") is None
    assert leases.store.get(job).state is State.RUNNING
