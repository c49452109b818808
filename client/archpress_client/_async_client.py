"""`AsyncClient`: the way to a server from asyncio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, Unpack

from archpress_client import _artifacts
from archpress_client._artifacts import AwaitedSource
from archpress_client._async_job import AsyncJobHandle
from archpress_client._asyncio_wire import AsyncioWire
from archpress_client._config import Retry, Timeouts, Tls
from archpress_client._info import ServerInfo
from archpress_client._network import Network
from archpress_client._operations import Given, Operations
from archpress_client._options import CompressOptions, PlanOptions, with_options
from archpress_client._transport import Transport
from archpress_client._types import Job, JobState, Model, Plan, UploadedModel
from archpress_client._wire import Address

if TYPE_CHECKING:
    from torch import nn


class AsyncClient:
    """Talks to one server; may be shared between the tasks of an event loop.

    It is `Client` with `await`: the same methods, arguments and errors. Nothing is opened before
    the first call. Results are fetched by `download` and `read`.
    """

    def __init__(
        self,
        target: str = "localhost:50051",
        *,
        tls: Tls | None = None,
        insecure: bool = False,
        token: str | None = None,
        timeouts: Timeouts | None = None,
        retry: Retry | None = None,
    ) -> None:
        """Keep the settings; `target` is host:port, `token` is sent as a bearer token.

        Raises:
            InvalidRequestError: the token has characters that no call could carry.
        """
        self._wire = AsyncioWire(Address(target, tls, insecure))
        self._transport = Transport(
            self._wire, token=token, timeouts=timeouts or Timeouts(), retry=retry or Retry()
        )
        self._operations = Operations(self._transport, AwaitedSource())

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the client."""
        await self.close()

    def __repr__(self) -> str:
        """Show the target."""
        return f"AsyncClient({self._wire.address.target!r})"

    async def close(self) -> None:
        """Close the connection; closing twice does nothing. Jobs go on."""
        await self._wire.close()

    async def upload(self, model: str | Path | bytes, *, display_name: str = "") -> UploadedModel:
        """Send an ONNX model, as a file or its bytes, to be compressed.

        It takes images as float32 in [0, 1], or normalised as the data set's are, as (batch,
        channels, height, width), and gives logits. The same bytes are the same model.

        Raises:
            InvalidRequestError: the model cannot be expressed; names the node, and what can be.
            OSError: the file cannot be read.
        """
        return await self._operations.upload(model, display_name)

    async def layers(self, module: nn.Module, *, dataset: str) -> Network:
        """Return the layers of a torch module for the images of a data set, without its weights.

        Raises:
            InvalidRequestError: the module cannot be expressed, or there is no such data set.
        """
        return await self._operations.layers(module, dataset)

    @with_options(CompressOptions)
    async def compress(
        self,
        network: Given,
        *,
        dataset: str,
        request_id: str | None = None,
        **options: Unpack[CompressOptions],
    ) -> AsyncJobHandle:
        """Create a job and return its handle; the arguments are `Client.compress`'s."""
        operations = await self._operations.create(network, dataset, options, request_id)
        return AsyncJobHandle(operations)

    @with_options(PlanOptions)
    async def plan(
        self,
        network: Given,
        *,
        dataset: str,
        max_candidates: int = 8,
        **options: Unpack[PlanOptions],
    ) -> Plan:
        """Return what a job would consider, without training; its options are `compress`'s.

        Of a torch module the layers are sent, not the weights: what these would bring along is not
        in the plan, and a `min_accuracy` that is hopeless without them is refused.
        """
        return await self._operations.plan(network, dataset, options, max_candidates)

    def job(self, name: str) -> AsyncJobHandle:
        """Return the handle of a job, by `jobs/{id}` or the id; nothing is asked yet."""
        return AsyncJobHandle(self._operations.job(name))

    def jobs(
        self,
        states: Iterable[JobState | str] | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        page_size: int = 100,
    ) -> AsyncGenerator[Job, None]:
        """Yield the caller's jobs, newest first.

        Networks that were sent or found are empty in them, and of a job's progress there are phase
        and steps alone; `client.job(name).status()` has all.
        """
        return self._operations.jobs(states, labels, page_size)

    async def cancel(self, name: str) -> Job:
        """Ask a job to stop, and return it."""
        return await self.job(name).cancel()

    async def delete(self, name: str) -> None:
        """Remove a job, its log and its artifacts."""
        await self.job(name).delete()

    async def download(self, model: Model, path: str | Path) -> None:
        """Write a result, or one of its models, as an ONNX file, whole and verified or not at all.

        Raises:
            DownloadError: what came is not what was promised.
            OSError: the file cannot be written.
        """
        await _artifacts.save(self._transport, model, Path(path))

    async def read(self, model: Model) -> bytes:
        """Return a result, or one of its models, as the verified bytes of an ONNX file."""
        return await _artifacts.read(self._transport, model)

    async def info(self) -> ServerInfo:
        """Return the server's versions, limits, data sets, embeddings and networks."""
        return await self._operations.info()
