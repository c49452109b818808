"""What a client can ask a server for, written once for threads and for asyncio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

from archpress_client import _request
from archpress_client._convert_info import server_info_from_proto
from archpress_client._convert_job import job_from_proto, upload_from_proto
from archpress_client._convert_result import plan_from_proto
from archpress_client._errors import FieldViolation, InvalidRequestError
from archpress_client._info import ServerInfo
from archpress_client._job_operations import JobOperations
from archpress_client._methods import CREATE_JOB, GET_SERVER_INFO, LIST_JOBS, PLAN, UPLOAD_MODEL
from archpress_client._network import Network, is_torch_module, torch_import
from archpress_client._options import CompressOptions, PlanOptions, job_spec
from archpress_client._transport import Transport
from archpress_client._types import Job, JobState, ModelSource, Plan, UploadedModel
from archpress_client._upload import model_content, upload_messages
from archpress_proto.v1.info_service_pb2 import GetServerInfoRequest

if TYPE_CHECKING:
    from torch import nn

Given: TypeAlias = Union[str, Network, "nn.Module"]
"""A network as callers may give it."""


class Operations:
    """The operations on one server."""

    def __init__(self, transport: Transport, source: ModelSource) -> None:
        """Ask through `transport`; results fetch their bytes from `source`."""
        self._transport = transport
        self._source = source

    async def upload(self, model: str | Path | bytes, display_name: str) -> UploadedModel:
        """Send an ONNX model."""
        _request.check_display_name(display_name)
        content, name = await self._transport.wire.offload(model_content, model)
        message = await self._transport.send(
            UPLOAD_MODEL,
            lambda: upload_messages(content, display_name or name),
            self._transport.timeouts.upload_seconds,
        )
        return upload_from_proto(message)

    async def layers(self, module: nn.Module, dataset: str) -> Network:
        """Return the layers of a torch module for the images of a data set."""
        return await self._traced(module, await self._input_shape(dataset))

    async def _traced(self, module: nn.Module, input_shape: tuple[int, int, int]) -> Network:
        """Return the layers of a module, which takes seconds, while other tasks run."""
        return await self._transport.wire.offload(Network.from_torch, module, input_shape)

    async def _input_shape(self, dataset: str) -> tuple[int, int, int]:
        """Return channels, height and width of a data set's images.

        Raises:
            InvalidRequestError: the server has no such data set.
        """
        shapes = {known.name: known.input_shape for known in (await self.info()).datasets}
        if dataset not in shapes:
            text = f"no data set {dataset!r}; there are {', '.join(sorted(shapes))}"
            violations = [FieldViolation("spec.dataset", text)]
            raise InvalidRequestError.of(violations, reason="UNKNOWN_DATASET")
        return shapes[dataset]

    async def create(
        self, network: Given, dataset: str, options: CompressOptions, request_id: str | None
    ) -> JobOperations:
        """Create a job and return the operations on it; of a torch module the weights go along."""
        layers = await self._without_weights(network, dataset)
        # Refused here, if at all: before megabytes are sent.
        request = _request.create_job(job_spec(layers, dataset, options), request_id)
        if is_torch_module(network) and isinstance(layers, Network):
            offload = self._transport.wire.offload
            content = await offload(torch_import().onnx_bytes, network, layers.input_shape)
            request.spec.artifact = (await self.upload(content, type(network).__name__)).artifact
        message = await self._transport.call(CREATE_JOB, request)
        return JobOperations(self._transport, self._source, message.name, request)

    async def plan(
        self, network: Given, dataset: str, options: PlanOptions, max_candidates: int
    ) -> Plan:
        """Return what a job would consider."""
        layers = await self._without_weights(network, dataset)
        request = _request.plan(job_spec(layers, dataset, options), max_candidates)
        seconds = self._transport.timeouts.plan_seconds
        return plan_from_proto(await self._transport.call(PLAN, request, seconds))

    async def _without_weights(self, network: Given, dataset: str) -> str | Network:
        """Return a network as the server takes it; of a torch module, its layers."""
        return await self.layers(network, dataset) if is_torch_module(network) else network

    def job(self, name: str) -> JobOperations:
        """Return the operations on a job; nothing is asked yet."""
        return JobOperations(self._transport, self._source, _request.job_name(name))

    async def jobs(
        self,
        states: Iterable[JobState | str] | None,
        labels: Mapping[str, str] | None,
        page_size: int,
    ) -> AsyncGenerator[Job, None]:
        """Yield the caller's jobs, newest first."""
        request = _request.list_jobs(states, labels, page_size)
        while True:
            page = await self._transport.call(LIST_JOBS, request)
            for message in page.jobs:
                yield job_from_proto(message, self._source)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def info(self) -> ServerInfo:
        """Return what the server is and offers."""
        message = await self._transport.call(GET_SERVER_INFO, GetServerInfoRequest())
        return server_info_from_proto(message)
