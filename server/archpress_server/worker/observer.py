"""`JobObserver`: writes what a compression tells into the job's log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from archpress_server.compress.types import Candidate, Phase, Progress
from archpress_server.jobs.errors import DatabaseUnavailableError, StoreError
from archpress_server.jobs.leases import Leases
from archpress_server.jobs.model import LogLine, Severity
from archpress_server.worker.patience import patiently

_PROGRESS_SECONDS = 0.25


class JobObserver:
    """Follows a compression for one attempt; progress within a phase at most 4 times a second.

    Raises `StaleAttemptError` out of the compression once the attempt is over.
    """

    def __init__(
        self,
        leases: Leases,
        job: str,
        attempt: int,
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
        on_phase: Callable[[Phase], None] = lambda phase: None,
    ) -> None:
        """Write for an attempt; `stop` is set when the job should end early."""
        self._on_phase = on_phase
        self._leases = leases
        self._job = job
        self._attempt = attempt
        self._stop = stop
        self._clock = clock
        self._last: Progress | None = None
        self._last_time = -_PROGRESS_SECONDS
        self._held_back: Progress | None = None

    def progress(self, progress: Progress) -> None:
        """Write it, unless the last one of the phase is too fresh."""
        new_phase = self._last is None or self._last.phase is not progress.phase
        if new_phase:
            self._on_phase(progress.phase)
            self.flush()
        elif self._clock() - self._last_time < _PROGRESS_SECONDS:
            self._held_back = progress
            return
        self._write(progress)

    def candidate(self, candidate: Candidate) -> None:
        """Write it, after the progress that led to it."""
        self.flush()
        self._append(candidate)

    def warning(self, text: str) -> None:
        """Write a line for people, after the progress that led to it."""
        self.flush()
        self._append(LogLine(Severity.WARNING, text))

    def try_to_warn(self, text: str) -> bool:
        """Write a line for people; return whether that could be done."""
        try:
            self.warning(text)
        except StoreError:
            return False
        return True

    def should_stop(self) -> bool:
        """Return whether the job should end early."""
        return self._stop.is_set()

    def flush(self) -> None:
        """Write the progress that was held back, if any."""
        if self._held_back is not None:
            self._write(self._held_back)

    def _append(self, payload: Candidate | LogLine) -> None:
        leases = self._leases
        patiently(lambda: leases.append(self._job, self._attempt, payload), leases.lease_seconds)

    def _write(self, progress: Progress) -> None:
        self._held_back = None
        self._last, self._last_time = progress, self._clock()
        try:
            self._leases.append(self._job, self._attempt, progress)
        except DatabaseUnavailableError:
            # The next one tells more; a busy database is no reason to lose the work.
            self._held_back = progress
