"""Receiving a file in chunks: bounded by its header, and right by its hash before anything else."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Callable

from archpress_proto.v1 import artifact_service_pb2 as pb
from archpress_server.service.errors import UploadStalledError, field_error
from archpress_server.service.faults import Faults

CHUNK_BYTES = 256 * 1024
IDLE_SECONDS = 30.0
"""Longest wait for the next chunk."""

LEAST_BYTES_PER_SECOND = 64 * 1024
"""Slowest upload, beside the longest wait: who trickles keeps others out."""

_NAME_CHARACTERS = 128
_SHA256 = re.compile(r"[0-9a-f]{64}")


async def receive(
    messages: AsyncIterator[pb.UploadModelRequest],
    max_bytes: int,
    count: Callable[[int], None],
    *,
    idle_seconds: float = IDLE_SECONDS,
) -> tuple[pb.UploadModelHeader, bytes]:
    """Return an upload's header and its bytes; `count` is told of every chunk's size.

    Raises:
        RequestError: the header is missing or wrong, or the bytes are not those that it says.
        UploadStalledError: nothing came for too long, or all of it too slowly.
    """
    first = await _next(messages, idle_seconds)
    if first is None or first.WhichOneof("part") != "header":
        raise field_error("header", "is required as the first message")
    header = first.header
    _check_header(header, max_bytes)
    longest = idle_seconds + header.size_bytes / LEAST_BYTES_PER_SECOND
    try:
        async with asyncio.timeout(longest):
            content = await _content(messages, header, count, idle_seconds)
    except TimeoutError:
        text = f"an upload of {header.size_bytes} bytes may take {longest:.0f} seconds"
        raise UploadStalledError(f"{text}, and they have not come") from None
    if len(content) != header.size_bytes:
        what = "more than" if len(content) > header.size_bytes else f"{len(content)} of"
        raise field_error("header.size_bytes", f"{what} {header.size_bytes} bytes came")
    digest = hashlib.sha256(content).hexdigest()
    if digest != header.sha256:
        raise field_error("header.sha256", f"is {header.sha256}, the bytes have {digest}")
    return header, content


async def _content(
    messages: AsyncIterator[pb.UploadModelRequest],
    header: pb.UploadModelHeader,
    count: Callable[[int], None],
    idle_seconds: float,
) -> bytes:
    """Return the bytes that come, not many more than the header says."""
    content = bytearray()
    while (message := await _next(messages, idle_seconds)) is not None:
        if message.WhichOneof("part") != "data":
            raise field_error("header", "must be the first message only")
        if not 1 <= len(message.data) <= CHUNK_BYTES:
            raise field_error("data", f"has {len(message.data)} bytes, must be 1 to {CHUNK_BYTES}")
        count(len(message.data))
        content += message.data
        if len(content) > header.size_bytes:
            break
    return bytes(content)


async def _next(
    messages: AsyncIterator[pb.UploadModelRequest], idle_seconds: float
) -> pb.UploadModelRequest | None:
    try:
        async with asyncio.timeout(idle_seconds):
            return await anext(messages)
    except StopAsyncIteration:
        return None
    except TimeoutError:
        text = f"no bytes of an upload came for {idle_seconds:g} seconds"
        raise UploadStalledError(text) from None


def _check_header(header: pb.UploadModelHeader, max_bytes: int) -> None:
    faults = Faults()
    if header.size_bytes > max_bytes:
        faults.add_limit("header.size_bytes", "max_artifact_bytes", max_bytes, header.size_bytes)
    if header.size_bytes < 1:
        faults.add("header.size_bytes", f"is {header.size_bytes}, must be 1 to {max_bytes}")
    if not _SHA256.fullmatch(header.sha256):
        faults.add("header.sha256", "must be 64 lower-case hexadecimal digits")
    if len(header.display_name) > _NAME_CHARACTERS or "\0" in header.display_name:
        text = f"must have at most {_NAME_CHARACTERS} characters, and no character 0"
        faults.add("header.display_name", text)
    faults.raise_if_any()
