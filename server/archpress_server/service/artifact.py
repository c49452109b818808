"""`ArtifactService`: models in, results out."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator

from archpress_proto.v1 import artifact_service_pb2 as pb
from archpress_proto.v1.artifact_service_pb2_grpc import ArtifactServiceServicer
from archpress_server.auth.callers import current_caller
from archpress_server.jobs.errors import ArtifactCorruptError
from archpress_server.jobs.model import ArtifactRecord
from archpress_server.jobs.store import JobStore
from archpress_server.jobs.uploads import Uploads
from archpress_server.metrics import Metrics
from archpress_server.onnx_import.isolated import inspect_onnx
from archpress_server.service.convert_job import artifact_to_proto
from archpress_server.service.faults import Faults
from archpress_server.service.gate import Gate
from archpress_server.service.handlers import Context
from archpress_server.service.own_artifact import own_artifact
from archpress_server.service.places import Places
from archpress_server.service.upload import CHUNK_BYTES, receive
from archpress_server.threads import Threads

_UPLOADS = 4
"""Uploads at one time, of which each holds a file in memory."""

_UPLOADS_EACH = 3
"""Of one principal, so that nobody takes all the room."""

_BLOCK_BYTES = 4 * CHUNK_BYTES
"""Read at one time, since an object store takes long to begin."""


class ArtifactServicer(ArtifactServiceServicer):
    """Takes and sends the files of a store."""

    def __init__(
        self, store: JobStore, uploads: Uploads, metrics: Metrics, gate: Gate, max_bytes: int
    ) -> None:
        """Serve the artifacts of a store; `max_bytes` is the size of the largest upload."""
        self._store = store
        self._uploads = uploads
        self._metrics = metrics
        self._gate = gate
        self._max_bytes = max_bytes
        self._places = Places("uploads", _UPLOADS, _UPLOADS_EACH)
        # A file may take much more memory than its size says while it is read.
        self._reading = asyncio.Lock()
        # A store that is silent holds up its own callers only.
        self._threads = Threads("artifacts")

    async def UploadModel(
        self, request_iterator: AsyncIterator[pb.UploadModelRequest], context: Context
    ) -> pb.Artifact:
        """Take a model that can be expressed."""
        self._gate.check()
        received = self._metrics.artifact_bytes.labels("received")
        with self._places.taken(current_caller().principal):
            header, content = await receive(request_iterator, self._max_bytes, received.inc)
            async with self._reading:
                architecture = await inspect_onnx(content)
            record = await self._threads.run(
                self._uploads.add,
                current_caller().principal,
                content,
                architecture,
                header.display_name,
            )
        return artifact_to_proto(record)

    async def GetArtifact(self, request: pb.GetArtifactRequest, context: Context) -> pb.Artifact:
        """Return an artifact's description."""
        return artifact_to_proto(await own_artifact(self._store, request.name))

    async def DownloadArtifact(
        self, request: pb.DownloadArtifactRequest, context: Context
    ) -> AsyncIterator[pb.DownloadArtifactResponse]:
        """Send an artifact's description, then its bytes from an offset on.

        The end of a whole file is only sent once the file is known to be right.
        """
        artifact = await own_artifact(self._store, request.name)
        _check_range(request, artifact)
        yield pb.DownloadArtifactResponse(info=artifact_to_proto(artifact))
        offset, end = request.read_offset, artifact.size_bytes
        if request.read_limit:
            end = min(end, offset + request.read_limit)
        digest = hashlib.sha256()
        whole = (offset, end) == (0, artifact.size_bytes)
        while offset < end:
            data = await self._read(artifact, offset, min(_BLOCK_BYTES, end - offset))
            offset += len(data)
            digest.update(data)
            if whole and offset == end and digest.hexdigest() != artifact.sha256:
                raise ArtifactCorruptError(artifact.id, f"has SHA-256 {digest.hexdigest()}")
            for start in range(0, len(data), CHUNK_BYTES):
                chunk = data[start : start + CHUNK_BYTES]
                self._metrics.artifact_bytes.labels("sent").inc(len(chunk))
                yield pb.DownloadArtifactResponse(data=chunk)

    async def _read(self, artifact: ArtifactRecord, offset: int, size: int) -> bytes:
        try:
            data = await self._threads.run(self._store.files.read, artifact.sha256, offset, size)
        except FileNotFoundError as error:
            # Unless its job was deleted meanwhile.
            await asyncio.to_thread(self._store.artifact, artifact.id)
            raise ArtifactCorruptError(artifact.id, "is missing") from error
        if len(data) < size:
            fault = f"has {offset + len(data)} bytes, not {artifact.size_bytes}"
            raise ArtifactCorruptError(artifact.id, fault)
        return data


def _check_range(request: pb.DownloadArtifactRequest, artifact: ArtifactRecord) -> None:
    faults = Faults()
    if not 0 <= request.read_offset <= artifact.size_bytes:
        text = f"is {request.read_offset}, must be 0 to {artifact.size_bytes}"
        faults.add("read_offset", text)
    if request.read_limit < 0:
        faults.add("read_limit", f"is {request.read_limit}, must not be negative")
    if request.if_sha256 and request.if_sha256 != artifact.sha256:
        faults.add("if_sha256", f"the artifact has {artifact.sha256}")
    faults.raise_if_any()
