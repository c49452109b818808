"""What the job store refuses, in terms that a caller can act on."""

from __future__ import annotations


class StoreError(RuntimeError):
    """Base of everything that the store raises."""


class StoreSetupError(StoreError):
    """The state folder or database cannot be used; the message is for the operator."""


class DatabaseUnavailableError(StoreError):
    """The database cannot be reached, is locked or is full at the moment."""


class FilesUnavailableError(StoreError):
    """The store of the artifacts cannot be reached, refuses or is full at the moment."""


class JobNotFoundError(StoreError):
    """There is no such job."""

    def __init__(self, job: str) -> None:
        """Keep the job's id."""
        self.job = job
        super().__init__(f"there is no job {job!r}")


class JobUnreadableError(StoreError):
    """A job is of another version of the server, which this one cannot read."""

    def __init__(self, job: str, principal: str, *, final: bool) -> None:
        """Keep the job's id and whose it is; one that is not `final` another server may run."""
        self.job = job
        self.principal = principal
        self.final = final
        super().__init__(
            f"job {job!r} is of another version of the server, which this one cannot read"
        )


class ArtifactNotFoundError(StoreError):
    """There is no such artifact."""

    def __init__(self, artifact: str) -> None:
        """Keep the artifact's id."""
        self.artifact = artifact
        super().__init__(f"there is no artifact {artifact!r}")


class ArtifactCorruptError(StoreError):
    """An artifact's file is not the one that was stored."""

    def __init__(self, artifact: str, fault: str) -> None:
        """Keep the artifact's id."""
        self.artifact = artifact
        super().__init__(f"the file of artifact {artifact} {fault}")


class RequestIdReusedError(StoreError):
    """A request_id came again with another request."""

    def __init__(self, request_id: str, job: str) -> None:
        """Keep the id and the job that it made."""
        self.request_id = request_id
        self.job = job
        super().__init__(f"request_id {request_id} was used for job {job} with another request")


class QueueFullError(StoreError):
    """No more jobs may wait."""

    def __init__(self, maximum: int) -> None:
        """Keep the number of jobs that may wait."""
        self.maximum = maximum
        super().__init__(f"{maximum} jobs are waiting, which is the most that may")


class UploadQuotaError(StoreError):
    """The uploaded models of one principal would take too much room."""

    def __init__(self, principal: str, maximum_bytes: int, taken_bytes: int) -> None:
        """Keep whose models, how much room they may take, and how much they do."""
        self.principal = principal
        super().__init__(
            f"your uploaded models take {taken_bytes} bytes of at most {maximum_bytes}; "
            "room comes as they expire"
        )


class PrincipalQuotaError(StoreError):
    """No more jobs of one principal may wait."""

    def __init__(self, principal: str, maximum: int) -> None:
        """Keep whose jobs, and how many may wait."""
        self.principal = principal
        self.maximum = maximum
        super().__init__(f"{maximum} of your jobs are waiting, which is the most that may")


class PageTokenError(StoreError):
    """A page token that this store did not make for these filters."""


class StaleAttemptError(StoreError):
    """The attempt no longer holds its job: it was given up, ended or deleted."""
