"""`inspect_onnx`: what an ONNX file holds, read by a process of its own with little to lose."""

from __future__ import annotations

import asyncio
import json
import sys

import structlog

from archpress_server.compress.types import FieldViolation, Reason, RequestError
from archpress_server.onnx_import.errors import refused
from archpress_trainer.space.graph import Architecture

_WAIT_SECONDS = 60.0


async def inspect_onnx(content: bytes) -> Architecture:
    """Return the architecture in an ONNX file.

    Raises:
        RequestError: the file is refused, or reading it took too much memory or time.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "archpress_server.onnx_import",
        str(len(content)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(_WAIT_SECONDS):
            output, errors = await process.communicate(content)
    except TimeoutError:
        raise refused("takes too long to read") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        structlog.get_logger().warning(
            "a file could not be read",
            size_bytes=len(content),
            returncode=process.returncode,
            end=errors.decode(errors="replace")[-200:],
        )
        raise refused("cannot be read within the limits of memory and time")
    found = json.loads(output)
    if "architecture" in found:
        return Architecture.from_json(found["architecture"])
    violations = tuple(
        FieldViolation(path, text, Reason(reason)) for path, text, reason in found["violations"]
    )
    raise RequestError(violations, found["metadata"])
