"""What an attempt writes down, whatever comes of the compression."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from archpress_server.compress.checkpoints import NO_CHECKPOINTS
from archpress_server.compress.types import (
    Budget,
    Candidate,
    Compression,
    CompressionError,
    FieldViolation,
    Phase,
    Progress,
    Reason,
    RequestError,
    StoppedError,
)
from archpress_server.config import ServerConfig
from archpress_server.jobs.errors import DatabaseUnavailableError
from archpress_server.jobs.leases import Leases
from archpress_server.jobs.model import EventKind, JobRecord, LogLine, State, Submission
from archpress_server.worker import run
from archpress_server.worker.observer import JobObserver
from archpress_trainer.embedding.prediction import Prediction
from archpress_trainer.space.costs import count

Attempt = Callable[[Callable[[JobObserver], Compression]], JobRecord]


@pytest.fixture
def attempt(
    leases: Leases,
    config: ServerConfig,
    submission: Submission,
    monkeypatch: pytest.MonkeyPatch,
) -> Attempt:
    """Runs an attempt with a function in place of the compression and returns the job."""

    def run_it(compress: Callable[[JobObserver], Compression]) -> JobRecord:
        job = leases.store.create(submission).id
        leases.lease_next("w")
        monkeypatch.setattr(run, "_compress", lambda spec, store, config, seen, _: compress(seen))
        seen = JobObserver(leases, job, 1, threading.Event())
        run.run_attempt(leases, config, seen, NO_CHECKPOINTS, job, 1)
        return leases.store.get(job)

    return run_it


def raising(error: Exception) -> Callable[[JobObserver], Compression]:
    def compress(_: JobObserver) -> Compression:
        raise error

    return compress


def test_a_result_is_stored(attempt: Attempt, compression: Compression) -> None:
    record = attempt(lambda _: compression)
    assert record.state is State.SUCCEEDED
    assert record.result is not None
    assert record.result.compression == replace(compression, model=b"")


def test_a_failure_keeps_reason_and_best(attempt: Attempt, compression: Compression) -> None:
    best = replace(compression, budget_met=False)
    error = CompressionError(
        Reason.BUDGET_UNREACHABLE,
        "0.9 at most",
        metadata={"min_accuracy": "0.9"},
        best=best,
        nearest_budget=Budget(min_accuracy=0.9),
    )
    record = attempt(raising(error))
    assert record.state is State.FAILED
    assert record.error is not None
    assert (record.error.reason, record.error.message) == ("BUDGET_UNREACHABLE", "0.9 at most")
    assert record.result is not None
    assert record.result.nearest_budget == Budget(min_accuracy=0.9)


def test_a_late_refusal_fails_the_job(attempt: Attempt) -> None:
    violation = FieldViolation("budget.max_params", "is too small", Reason.BUDGET_INFEASIBLE)
    record = attempt(raising(RequestError((violation,), {"max_params": "100"})))
    assert record.error is not None
    assert (record.error.reason, record.error.metadata) == (
        "BUDGET_INFEASIBLE",
        {"max_params": "100"},
    )


def test_images_that_cannot_be_read_are_named(
    leases: Leases, config: ServerConfig, submission: Submission, tmp_path: Path
) -> None:
    missing = config.model_copy(
        update={"dataset_files": {"fashion-mnist": tmp_path / "nowhere.npz"}}
    )
    job = leases.store.create(submission).id
    leases.lease_next("w")
    seen = JobObserver(leases, job, 1, threading.Event())
    run.run_attempt(leases, missing, seen, NO_CHECKPOINTS, job, 1)
    record = leases.store.get(job)
    assert record.state is State.FAILED
    assert record.error is not None
    assert record.error.reason == "UNKNOWN_DATASET"
    assert "nowhere.npz" in record.error.message
    assert record.error.metadata["dataset"] == "fashion-mnist"
    assert "fashion-mnist" in record.error.metadata["known"]


def test_images_of_another_shape_than_the_embeddings_end_the_job_before_any_work(
    leases: Leases, config: ServerConfig, submission: Submission, tmp_path: Path
) -> None:
    images = np.zeros((40, 16, 16, 1), dtype=np.uint8)
    labels = np.arange(40) % 12
    np.savez(
        tmp_path / "other.npz",
        x_train=images,
        y_train=labels,
        x_test=images,
        y_test=labels,
    )
    other = config.model_copy(update={"dataset_files": {"fashion-mnist": tmp_path / "other.npz"}})
    job = leases.store.create(submission).id
    leases.lease_next("w")
    seen = JobObserver(leases, job, 1, threading.Event())
    run.run_attempt(leases, other, seen, NO_CHECKPOINTS, job, 1)
    record = leases.store.get(job)
    assert record.error is not None
    assert record.error.reason == "UNKNOWN_DATASET"
    assert "images of [1, 16, 16] in 12 classes" in record.error.message
    assert "is for [1, 28, 28] in 10" in record.error.message


def test_a_stopped_job_is_cancelled(attempt: Attempt) -> None:
    assert attempt(raising(StoppedError())).state is State.CANCELLED


def test_a_bug_shows_an_id_and_no_details(
    attempt: Attempt, capsys: pytest.CaptureFixture[str]
) -> None:
    record = attempt(raising(ZeroDivisionError("secret")))
    assert record.error is not None
    assert record.error.reason == "INTERNAL"
    assert "secret" not in record.error.message
    logged = capsys.readouterr()
    assert record.error.metadata["error_id"] in logged.out + logged.err


def test_a_finished_model_waits_for_a_store_that_is_away(
    leases: Leases,
    attempt: Attempt,
    config: ServerConfig,
    compression: Compression,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run, "_STORE_SECONDS", 0.02)
    folder, elsewhere = config.state_dir / "artifacts", config.state_dir / "elsewhere"
    back = threading.Timer(0.3, lambda: elsewhere.rename(folder))

    def compress(_: JobObserver) -> Compression:
        folder.rename(elsewhere)
        back.start()
        return compression

    record = attempt(compress)
    back.join()
    assert (record.state, record.attempt) == (State.SUCCEEDED, 1)
    lines = [event.payload for event in leases.store.events_after(record.id, 0)]
    texts = [line.text for line in lines if isinstance(line, LogLine)]
    assert texts == ["the model cannot be stored at the moment; trying again"]


def test_a_job_that_waits_for_the_store_can_be_cancelled(
    leases: Leases,
    config: ServerConfig,
    submission: Submission,
    compression: Compression,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run, "_STORE_SECONDS", 0.02)
    monkeypatch.setattr(run, "_compress", lambda *_: compression)
    (config.state_dir / "artifacts").rename(config.state_dir / "elsewhere")
    job = leases.store.create(submission).id
    leases.lease_next("w")
    stop = threading.Event()
    later = threading.Timer(0.2, stop.set)
    later.start()
    seen = JobObserver(leases, job, 1, stop)
    run.run_attempt(leases, config, seen, NO_CHECKPOINTS, job, 1)
    later.join()
    assert leases.store.get(job).state is State.CANCELLED


def test_an_attempt_that_is_over_writes_nothing(
    attempt: Attempt, leases: Leases, compression: Compression
) -> None:
    def compress(seen: JobObserver) -> Compression:
        leases.lose(leases.store.list().jobs[0].id, 1, "gone")
        seen.progress(Progress(Phase.DECODE))
        return compression

    assert attempt(compress).state is State.QUEUED


def test_progress_is_coalesced_within_a_phase(leases: Leases, submission: Submission) -> None:
    now = 0.0
    job = leases.store.create(submission).id
    leases.lease_next("w")
    seen = JobObserver(leases, job, 1, threading.Event(), clock=lambda: now)
    for step in range(10):
        seen.progress(Progress(Phase.DESCEND, step, 10))
        now += 0.1
    seen.progress(Progress(Phase.DECODE, 0, 1))
    seen.progress(Progress(Phase.DECODE, 1, 1))
    architecture = submission.spec.request.architecture
    prediction = Prediction(0.9, 0.8, 0.95)
    seen.candidate(Candidate(architecture, count(architecture), prediction, 1))
    steps = [
        (event.payload.phase, event.payload.step)
        for event in leases.store.events_after(job, 2)
        if isinstance(event.payload, Progress)
    ]
    assert steps == [
        *((Phase.DESCEND, step) for step in (0, 3, 6, 9)),
        (Phase.DECODE, 0),
        (Phase.DECODE, 1),
    ]
    assert leases.store.events_after(job, 2)[-1].kind is EventKind.CANDIDATE


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory.\nSee there"), MemoryError("no memory")]
)
def test_full_memory_is_left_to_another_attempt_and_told(
    attempt: Attempt, leases: Leases, error: Exception
) -> None:
    with pytest.raises(type(error)):
        attempt(raising(error))
    (record,) = leases.store.list().jobs
    assert (record.state, record.error) == (State.RUNNING, None)
    lines = [event.payload for event in leases.store.events_after(record.id, 0)]
    (text,) = [line.text for line in lines if isinstance(line, LogLine)]
    assert text == f"attempt 1 needs more memory than there is: {str(error).splitlines()[0]}"


def test_a_database_that_stays_away_is_no_fault_of_the_job(
    attempt: Attempt, leases: Leases
) -> None:
    with pytest.raises(DatabaseUnavailableError):
        attempt(raising(DatabaseUnavailableError("away")))
    (record,) = leases.store.list().jobs
    assert (record.state, record.error) == (State.RUNNING, None)
