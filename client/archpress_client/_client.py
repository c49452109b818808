"""`Client`: the way to a server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from archpress_client import _convert, _request
from archpress_client._config import Retry, Timeouts, Tls
from archpress_client._info import ServerInfo
from archpress_client._job import Artifacts, JobHandle
from archpress_client._latency_table import LatencyTable
from archpress_client._network import Network
from archpress_client._transport import Transport
from archpress_client._types import (
    Budget,
    Effort,
    Job,
    JobSpec,
    JobState,
    Method,
    Plan,
    UploadedModel,
)
from archpress_client._upload import model_content, upload_messages
from archpress_proto.v1.info_service_pb2 import GetServerInfoRequest


class Client:
    """Talks to one server; may be shared between threads.

    Nothing is opened before the first call, and a forked process opens a channel of its own.
    Traffic that leaves the machine is encrypted, unless `insecure` is set.
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
        """Keep the settings; `target` is host:port, `token` is sent as a bearer token."""
        self._transport = Transport(
            target,
            tls=tls,
            insecure=insecure,
            token=token,
            timeouts=timeouts or Timeouts(),
            retry=retry or Retry(),
        )
        self._source = Artifacts(self._transport)

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the client."""
        self.close()

    def __repr__(self) -> str:
        """Show the target."""
        return f"Client({self._transport.target!r})"

    def close(self) -> None:
        """Close the connection; closing twice does nothing. Jobs go on."""
        self._transport.close()

    def upload(self, model: str | Path | bytes, *, display_name: str = "") -> UploadedModel:
        """Send an ONNX model, as a file or its bytes, to be compressed.

        It takes images as float32 in [0, 1], or normalised as the data set's are, as (batch,
        channels, height, width), and gives logits. The same bytes are the same model.

        Raises:
            InvalidRequestError: the model cannot be expressed; names the node, and what can be.
            OSError: the file cannot be read.
        """
        content, name = model_content(model)
        message = self._transport.send(
            lambda stubs: stubs.artifacts.UploadModel,
            lambda: upload_messages(content, display_name or name),
            self._transport.timeouts.upload_seconds,
        )
        return _convert.upload_from_proto(message)

    def compress(
        self,
        network: str | Network,
        *,
        dataset: str,
        max_params: int | None = None,
        max_params_ratio: float | None = None,
        max_macs: int | None = None,
        max_macs_ratio: float | None = None,
        max_latency_seconds: float | None = None,
        min_accuracy: float | None = None,
        max_accuracy_drop: float | None = None,
        latency_table: LatencyTable | None = None,
        effort: Effort | str = Effort.DRAFT,
        method: Method | str = Method.DEFAULT,
        seed: int = 0,
        labels: Mapping[str, str] | None = None,
        max_run_time_seconds: float | None = None,
        max_queue_time_seconds: float | None = None,
        priority: int = 0,
        pareto_models: int = 1,
        int8: bool = False,
        training_seeds: int = 1,
        request_id: str | None = None,
    ) -> JobHandle:
        """Create a job and return its handle.

        Args:
            network: A name that the server knows, such as "conv-7", layers, or the name of an
                uploaded model (`upload(...).artifact`), whose weights then teach the result.
            dataset: Name of a data set of the server.
            max_params: Largest number of parameters; like all sizes checked exactly.
            max_params_ratio: The same as a fraction of the input network's, above 0 to 1.
            max_macs: Largest number of multiply-accumulates for one image.
            max_macs_ratio: The same as a fraction of the input network's, above 0 to 1.
            max_latency_seconds: Largest time for one image: by `latency_table`, or else the median
                on the server's CPU with one thread.
            min_accuracy: Smallest accuracy on the test split, 0 to 1.
            max_accuracy_drop: Largest loss against the input network; 0.01 is one point.
            latency_table: The caller's own device, which `max_latency_seconds` then is about.
            effort: How much to train: "draft", "standard" or "full".
            method: "default", or "paper" for the paper's method to the letter.
            seed: Seed of all random choices.
            labels: The caller's own marks, for `jobs`.
            max_run_time_seconds: Longest time of work before the job fails.
            max_queue_time_seconds: Longest wait for a worker before the job fails.
            priority: -100 to 100; higher runs earlier.
            pareto_models: Most models of different sizes, 1 to 8, as `result.front`; each size has
                0.6 of the parameters of the one before, the budget being that of the largest.
            int8: Whether to deliver the result with 8-bit weights and activations too.
            training_seeds: Full trainings of the result, 1 to 8; the best on validation images is
                delivered, and `result.seed_accuracies` has all.
            request_id: A UUID of version 4. Repeating a request with it returns the same job.

        Raises:
            InvalidRequestError: the request cannot be met, with every violation found.
        """
        spec = JobSpec(
            network=network,
            dataset=dataset,
            budget=Budget(
                max_params=max_params,
                max_params_ratio=max_params_ratio,
                max_macs=max_macs,
                max_macs_ratio=max_macs_ratio,
                max_latency_seconds=max_latency_seconds,
                min_accuracy=min_accuracy,
                max_accuracy_drop=max_accuracy_drop,
            ),
            effort=_request.choice(Effort, "spec.effort", effort),
            method=_request.choice(Method, "spec.method", method),
            seed=seed,
            labels=labels or {},
            max_run_time_seconds=max_run_time_seconds,
            max_queue_time_seconds=max_queue_time_seconds,
            priority=priority,
            latency_table=latency_table,
            pareto_models=pareto_models,
            int8=int8,
            training_seeds=training_seeds,
        )
        request = _request.create_job(spec, request_id)
        message = self._transport.call(lambda stubs: stubs.compression.CreateJob, request)
        return JobHandle(self._transport, message.name, request)

    def plan(
        self,
        network: str | Network,
        *,
        dataset: str,
        max_params: int | None = None,
        max_params_ratio: float | None = None,
        max_macs: int | None = None,
        max_macs_ratio: float | None = None,
        max_latency_seconds: float | None = None,
        min_accuracy: float | None = None,
        latency_table: LatencyTable | None = None,
        effort: Effort | str = Effort.DRAFT,
        method: Method | str = Method.DEFAULT,
        seed: int = 0,
        max_candidates: int = 8,
    ) -> Plan:
        """Return what a job would consider, without training; the arguments are `compress`'s."""
        spec = JobSpec(
            network=network,
            dataset=dataset,
            budget=Budget(
                max_params=max_params,
                max_params_ratio=max_params_ratio,
                max_macs=max_macs,
                max_macs_ratio=max_macs_ratio,
                max_latency_seconds=max_latency_seconds,
                min_accuracy=min_accuracy,
            ),
            effort=_request.choice(Effort, "spec.effort", effort),
            method=_request.choice(Method, "spec.method", method),
            seed=seed,
            latency_table=latency_table,
        )
        message = self._transport.call(
            lambda stubs: stubs.compression.Plan,
            _request.plan(spec, max_candidates),
            self._transport.timeouts.plan_seconds,
        )
        return _convert.plan_from_proto(message)

    def job(self, name: str) -> JobHandle:
        """Return the handle of a job, by `jobs/{id}` or the id; nothing is asked yet."""
        return JobHandle(self._transport, _request.job_name(name))

    def jobs(
        self,
        states: Iterable[JobState | str] | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        page_size: int = 100,
    ) -> Iterator[Job]:
        """Yield the caller's jobs, newest first; networks are left out of them."""
        request = _request.list_jobs(states, labels, page_size)
        while True:
            page = self._transport.call(lambda stubs: stubs.compression.ListJobs, request)
            for message in page.jobs:
                yield _convert.job_from_proto(message, self._source)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def cancel(self, name: str) -> Job:
        """Ask a job to stop, and return it."""
        return self.job(name).cancel()

    def delete(self, name: str) -> None:
        """Remove a job, its log and its artifacts."""
        self.job(name).delete()

    def info(self) -> ServerInfo:
        """Return the server's versions, limits, data sets, embeddings and networks."""
        message = self._transport.call(
            lambda stubs: stubs.info.GetServerInfo, GetServerInfoRequest()
        )
        return _convert.server_info_from_proto(message)
