"""Names of jobs and artifacts, and the ids in them."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable

from archpress_server.jobs.errors import ArtifactNotFoundError, JobNotFoundError

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def job_id(name: str) -> str:
    """Return the id in a job's name.

    Raises:
        JobNotFoundError: no job has a name like this.
    """
    return _id_in(name, "jobs/", JobNotFoundError)


def artifact_id(name: str) -> str:
    """Return the id in an artifact's name.

    Raises:
        ArtifactNotFoundError: no artifact has a name like this.
    """
    return _id_in(name, "artifacts/", ArtifactNotFoundError)


def is_uuid4(text: str) -> bool:
    """Return whether a text is a UUID of version 4, in letters of either case."""
    try:
        return _ID.fullmatch(text.lower()) is not None and uuid.UUID(text).version == 4
    except ValueError:
        return False


def _id_in(name: str, prefix: str, unknown: Callable[[str], Exception]) -> str:
    identifier = name.removeprefix(prefix)
    if not name.startswith(prefix) or not _ID.fullmatch(identifier):
        raise unknown(identifier[:100])
    return identifier
