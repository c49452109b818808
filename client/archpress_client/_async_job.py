"""`AsyncJobHandle`: one job on the server, to watch, wait for and cancel from a task."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

from archpress_client._events import Event
from archpress_client._job_operations import JobOperations
from archpress_client._types import Job, Result


class AsyncJobHandle:
    """A job on the server; the handle may be dropped and made again by name."""

    def __init__(self, operations: JobOperations) -> None:
        """Use `AsyncClient.compress` or `AsyncClient.job` instead."""
        self._operations = operations

    @property
    def name(self) -> str:
        """The job's name, `jobs/{id}`."""
        return self._operations.name

    def __repr__(self) -> str:
        """Show the name."""
        return f"AsyncJobHandle({self.name!r})"

    async def status(self) -> Job:
        """Return the job as it is now."""
        return await self._operations.status()

    async def report(self) -> str:
        """Return the job's report: one page of HTML that needs nothing else.

        It shows a job in any state: costs before and after, candidates, descent, trainings, layers,
        certificate.
        """
        return await self._operations.report()

    async def cancel(self) -> Job:
        """Ask the job to stop, and return it; a final job stays as it is."""
        return await self._operations.cancel()

    async def delete(self) -> None:
        """Remove the job, its log and its artifacts."""
        await self._operations.delete()

    def events(
        self, *, after_seq: int = 0, timeout_seconds: float | None = None
    ) -> AsyncGenerator[Event, None]:
        """Yield the job's events from `after_seq` on, the last of which is a `CompletedEvent`.

        A broken connection is resumed where it broke. Neither leaving the loop nor cancelling the
        task cancels the job.

        Raises:
            UnavailableError: the server did not come back.
            RequestTimeoutError: the job is not final after `timeout_seconds`.
        """
        return self._operations.events(after_seq, timeout_seconds)

    async def result(
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
        return await self._operations.result(on_event, timeout_seconds)
