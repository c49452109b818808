"""`Heart`: the thread that keeps a worker's lease, and ends the process when it must."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

import structlog

from archpress_server.jobs.leases import Leases, Signal

EXIT_DONE = 0
EXIT_REQUEUED = 10
EXIT_STALE = 11

_LAST_WORDS_SECONDS = 5.0
"""What the main thread has to say that it was itself who ended the attempt."""


def block_sigterm() -> None:
    """Keep SIGTERM for the heart; to be called before any other thread is there."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


class Heart:
    """Beats for one attempt, beside a main thread that may be deep in a calculation.

    So it ends the process itself: on SIGTERM after giving the job back, when the attempt is over,
    and when the main thread does not stop within the grace after a cancellation. A main thread
    that wrote the attempt's end lets it rest, and is then left alone.
    """

    def __init__(
        self,
        leases: Leases,
        job: str,
        attempt: int,
        *,
        heartbeat_seconds: float,
        cancel_grace_seconds: float,
        before_giving_back: Callable[[], None] = lambda: None,
    ) -> None:
        """Beat for an attempt of a job."""
        self.stop = threading.Event()
        self._leases = leases
        self._job = job
        self._attempt = attempt
        self._heartbeat_seconds = heartbeat_seconds
        self._cancel_grace_seconds = cancel_grace_seconds
        self._before_giving_back = before_giving_back
        self._last_beat = time.monotonic()
        self._resting = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def rest(self) -> None:
        """Beat no more, since the attempt's end is written."""
        self._resting.set()

    def _run(self) -> None:
        cancelled_at: float | None = None
        while not self._resting.is_set():
            if signal.sigtimedwait({signal.SIGTERM}, self._heartbeat_seconds) is not None:
                self._give_back()
            answer = self._beat()
            if answer is Signal.STALE:
                if self._resting.wait(_LAST_WORDS_SECONDS):
                    return
                self._log("the attempt is over")
                os._exit(EXIT_STALE)
            if answer is Signal.CANCEL:
                self.stop.set()
                cancelled_at = cancelled_at or time.monotonic()
                if time.monotonic() - cancelled_at > self._cancel_grace_seconds:
                    self._cut_short()

    def _beat(self) -> Signal:
        try:
            answer = self._leases.heartbeat(self._job, self._attempt)
        except Exception as error:
            # Alone without the database: past the lease another worker may have the job.
            if time.monotonic() - self._last_beat > self._leases.lease_seconds:
                os._exit(EXIT_STALE)
            self._log(f"heartbeat failed: {error}")
            return Signal.GO_ON
        self._last_beat = time.monotonic()
        return answer

    def _give_back(self) -> None:
        try:
            self._before_giving_back()
            self._leases.requeue(self._job, self._attempt)
        finally:
            os._exit(EXIT_REQUEUED)

    def _cut_short(self) -> None:
        try:
            self._leases.cancelled(self._job, self._attempt)
            self._log("the work did not stop in time")
        finally:
            os._exit(EXIT_DONE)

    def _log(self, text: str) -> None:
        structlog.get_logger().warning(text, job=self._job, attempt=self._attempt)
