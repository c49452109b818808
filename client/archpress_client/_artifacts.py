"""Artifacts of a server: downloads that are resumed and checked, and who may ask for them."""

from __future__ import annotations

from contextlib import aclosing
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NoReturn

from archpress_client._download import Download, PartFile
from archpress_client._drive import run
from archpress_client._errors import ArchpressError, UnsupportedError
from archpress_client._methods import DOWNLOAD_ARTIFACT
from archpress_client._transport import Transport
from archpress_client._types import Model
from archpress_client._wire import Patience


async def save(transport: Transport, model: Model, path: Path) -> None:
    """Write a model to a file, which appears whole or not at all."""
    part = PartFile(path)
    try:
        await _fetch(transport, model, await transport.wire.offload(part.open))
        await transport.wire.offload(part.finish)
    except BaseException:
        part.abandon()
        raise


async def read(transport: Transport, model: Model) -> bytes:
    """Return a model's bytes."""
    buffer = BytesIO()
    await _fetch(transport, model, buffer)
    return buffer.getvalue()


async def _fetch(transport: Transport, model: Model, sink: BinaryIO) -> None:
    download = Download(model.artifact, transport.retry, transport.random, sha256=model.sha256)
    while True:
        error: ArchpressError | None = None
        try:
            messages = transport.stream(
                DOWNLOAD_ARTIFACT,
                download.request(),
                Patience(transport.timeouts.download_silence_seconds),
            )
            async with aclosing(messages):
                async for message in messages:
                    sink.write(download.feed(message))
        except ArchpressError as caught:
            error = caught
        delay_seconds = download.ended(error)
        if delay_seconds is None:
            return
        await transport.wire.sleep(delay_seconds)


class BlockingSource:
    """Fetches at once: for results of a `Client`."""

    def __init__(self, transport: Transport) -> None:
        """Fetch through `transport`, whose wire is the one for threads."""
        self._transport = transport

    def save(self, model: Model, path: Path) -> None:
        """Write a model to a file."""
        run(save(self._transport, model, path))

    def read(self, model: Model) -> bytes:
        """Return a model's bytes."""
        return run(read(self._transport, model))


class AwaitedSource:
    """Says how to fetch: for results of an `AsyncClient`, which would block its event loop."""

    def save(self, model: Model, path: Path) -> None:
        """Refuse."""
        self._refuse(f"`await client.download(model, {str(path)!r})`")

    def read(self, model: Model) -> bytes:
        """Refuse."""
        self._refuse("`await client.read(model)`")

    def _refuse(self, instead: str) -> NoReturn:
        raise UnsupportedError(
            f"this model came by an AsyncClient, which must not block: {instead}"
        )
