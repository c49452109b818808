"""When the heart ends its process, and when it leaves the end to the main thread."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from typing import NoReturn

import pytest

from archpress_server.jobs.errors import StoreError
from archpress_server.jobs.leases import Leases, Signal
from archpress_server.jobs.model import Submission
from archpress_server.worker import heart as module
from archpress_server.worker.heart import EXIT_STALE, Heart


class Exits:
    """Takes the place of `os._exit`, and ends the thread instead."""

    def __init__(self) -> None:
        self.codes: list[int] = []
        self.came = threading.Event()

    def __call__(self, code: int) -> NoReturn:
        self.codes.append(code)
        self.came.set()
        raise SystemExit


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> Exits:
    exits = Exits()
    monkeypatch.setattr(os, "_exit", exits)
    return exits


@pytest.fixture
def job(leases: Leases, submission: Submission) -> str:
    job = leases.store.create(submission).id
    leases.lease_next("w")
    return job


def beating(leases: Leases, job: str) -> Heart:
    heart = Heart(leases, job, 1, heartbeat_seconds=0.01, cancel_grace_seconds=60.0)
    heart.start()
    return heart


def staleness(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Return what is set once the heart has seen that the attempt is over."""
    seen, beat = threading.Event(), Leases.heartbeat

    def heartbeat(leases: Leases, job: str, attempt: int) -> Signal:
        answer = beat(leases, job, attempt)
        if answer is Signal.STALE:
            seen.set()
        return answer

    monkeypatch.setattr(Leases, "heartbeat", heartbeat)
    return seen


# The thread's end by an exception, which stands for the process's.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_attempt_that_was_taken_away_ends_the_process(
    leases: Leases, job: str, exits: Exits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LAST_WORDS_SECONDS", 0.05)
    beating(leases, job)
    assert not exits.came.wait(0.2)
    leases.requeue(job, 1)
    assert exits.came.wait(10)
    assert exits.codes == [EXIT_STALE]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_past_its_lease_a_worker_alone_without_the_database_ends(
    leases: Leases, job: str, exits: Exits, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats: list[str] = []

    def fail(leases: Leases, job: str, attempt: int) -> NoReturn:
        beats.append(job)
        raise StoreError("no database")

    monkeypatch.setattr(Leases, "heartbeat", fail)
    beating(replace(leases, lease_seconds=0.1), job)
    assert exits.came.wait(10)
    assert exits.codes == [EXIT_STALE]
    assert len(beats) > 1


def test_an_end_that_the_main_thread_wrote_is_left_to_it(
    leases: Leases, job: str, exits: Exits, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = staleness(monkeypatch)
    heart = beating(leases, job)
    thread = next(thread for thread in threading.enumerate() if thread.name == "heart")
    leases.cancelled(job, 1)
    # The heart may be first to hear of it.
    assert seen.wait(10)
    heart.rest()
    thread.join(10)
    assert not thread.is_alive()
    assert exits.codes == []
