"""What the client raises where a job ended without a result that meets its budget."""

from __future__ import annotations

from collections.abc import Mapping

from archpress_client._errors import ArchpressError
from archpress_client._types import Job, Result


class JobError(ArchpressError):
    """The job ended without a result that meets the budget; `job` is its final state."""

    def __init__(
        self, message: str, *, job: Job, reason: str, metadata: Mapping[str, str] | None = None
    ) -> None:
        """Keep the job."""
        super().__init__(message, reason=reason, metadata=metadata)
        self.job = job


class JobFailedError(JobError):
    """The job failed; with BUDGET_UNREACHABLE, `result` is the best network that was found."""

    @property
    def result(self) -> Result | None:
        """The best network within the hard budgets, where there is one."""
        return self.job.result


class JobCancelledError(JobError):
    """The job was cancelled."""
