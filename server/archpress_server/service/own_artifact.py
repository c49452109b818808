"""`own_artifact`: the artifact that a caller names, if it is the caller's."""

from __future__ import annotations

import asyncio

from archpress_server.auth.callers import current_caller
from archpress_server.jobs.model import ArtifactRecord
from archpress_server.jobs.store import JobStore
from archpress_server.service.names import artifact_id


async def own_artifact(store: JobStore, name: str) -> ArtifactRecord:
    """Return an artifact by its name.

    Raises:
        ArtifactNotFoundError: there is none.
        ForbiddenError: it is another principal's.
    """
    artifact = await asyncio.to_thread(store.artifact, artifact_id(name))
    current_caller().check_owner(f"artifacts/{artifact.id}", artifact.principal)
    return artifact
