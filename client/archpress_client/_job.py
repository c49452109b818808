"""`JobHandle`: one job on the server, to watch, wait for and cancel."""

from __future__ import annotations

from collections.abc import Callable, Generator

from archpress_client._drive import iterate, run
from archpress_client._events import Event
from archpress_client._job_operations import JobOperations
from archpress_client._types import Job, Result


class JobHandle:
    """A job on the server; the handle may be dropped and made again by name."""

    def __init__(self, operations: JobOperations) -> None:
        """Use `Client.compress` or `Client.job` instead."""
        self._operations = operations

    @property
    def name(self) -> str:
        """The job's name, `jobs/{id}`."""
        return self._operations.name

    def __repr__(self) -> str:
        """Show the name."""
        return f"JobHandle({self.name!r})"

    def status(self) -> Job:
        """Return the job as it is now."""
        return run(self._operations.status())

    def report(self) -> str:
        """Return the job's report: one page of HTML that needs nothing else.

        It shows a job in any state: costs before and after, candidates, descent, trainings, layers,
        certificate.
        """
        return run(self._operations.report())

    def cancel(self) -> Job:
        """Ask the job to stop, and return it; a final job stays as it is."""
        return run(self._operations.cancel())

    def delete(self) -> None:
        """Remove the job, its log and its artifacts."""
        run(self._operations.delete())

    def events(
        self, *, after_seq: int = 0, timeout_seconds: float | None = None
    ) -> Generator[Event, None, None]:
        """Yield the job's events from `after_seq` on, the last of which is a `CompletedEvent`.

        A broken connection is resumed where it broke. Leaving the loop does not cancel the job.

        Raises:
            UnavailableError: the server did not come back.
            RequestTimeoutError: the job is not final after `timeout_seconds`.
        """
        return iterate(self._operations.events(after_seq, timeout_seconds))

    def result(
        self,
        on_event: Callable[[Event], object] | None = None,
        timeout_seconds: float | None = None,
    ) -> Result:
        """Wait for the job's end and return what it delivers.

        Raises:
            JobFailedError: the job failed; the error holds the best network, if there is one.
            JobCancelledError: the job was cancelled.
            RequestTimeoutError: the job is not final after `timeout_seconds`; it goes on.
        """
        return run(self._operations.result(on_event, timeout_seconds))
