"""`Client`: the way to a server."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, Unpack

from archpress_client import _artifacts
from archpress_client._artifacts import BlockingSource
from archpress_client._blocking_wire import BlockingWire
from archpress_client._config import Retry, Timeouts, Tls
from archpress_client._drive import iterate, run
from archpress_client._info import ServerInfo
from archpress_client._job import JobHandle
from archpress_client._network import Network
from archpress_client._operations import Given, Operations
from archpress_client._options import CompressOptions, PlanOptions, with_options
from archpress_client._transport import Transport
from archpress_client._types import Job, JobState, Model, Plan, UploadedModel
from archpress_client._wire import Address

if TYPE_CHECKING:
    from torch import nn


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
        """Keep the settings; `target` is host:port, `token` is sent as a bearer token.

        Raises:
            InvalidRequestError: the token has characters that no call could carry.
        """
        self._wire = BlockingWire(Address(target, tls, insecure))
        self._transport = Transport(
            self._wire, token=token, timeouts=timeouts or Timeouts(), retry=retry or Retry()
        )
        self._operations = Operations(self._transport, BlockingSource(self._transport))

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
        return f"Client({self._wire.address.target!r})"

    def close(self) -> None:
        """Close the connection; closing twice does nothing. Jobs go on."""
        self._wire.close()

    def upload(self, model: str | Path | bytes, *, display_name: str = "") -> UploadedModel:
        """Send an ONNX model, as a file or its bytes, to be compressed.

        It takes images as float32 in [0, 1], or normalised as the data set's are, as (batch,
        channels, height, width), and gives logits. The same bytes are the same model.

        Raises:
            InvalidRequestError: the model cannot be expressed; names the node, and what can be.
            OSError: the file cannot be read.
        """
        return run(self._operations.upload(model, display_name))

    def layers(self, module: nn.Module, *, dataset: str) -> Network:
        """Return the layers of a torch module for the images of a data set, without its weights.

        Raises:
            InvalidRequestError: the module cannot be expressed, or there is no such data set.
        """
        return run(self._operations.layers(module, dataset))

    @with_options(CompressOptions)
    def compress(
        self,
        network: Given,
        *,
        dataset: str,
        request_id: str | None = None,
        **options: Unpack[CompressOptions],
    ) -> JobHandle:
        """Create a job and return its handle.

        Args:
            network: A name that the server knows, such as "conv-7", layers, the name of an uploaded
                model (`upload(...).artifact`) or a torch module, whose weights then may
                teach the result.
            dataset: Name of a data set of the server.
            request_id: A UUID of version 4. Repeating a request with it returns the same job.
            **options: Any of these.
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
            method: "default", or "paper" for the paper's model and recipe, with one candidate.
            seed: Seed of all random choices. A request that equals one that succeeded ends at once
                with its result (`Job.cached_result`); another seed trains anew.
            labels: The caller's own marks, for `jobs`.
            max_run_time_seconds: Longest time of work before the job fails.
            max_queue_time_seconds: Longest wait for a worker before the job fails.
            priority: -100 to 100; higher runs earlier.
            pareto_models: Most models of different sizes, 1 to 8, as `result.front`; each size has
                0.6 of the parameters of the one before, the budget being that of the largest.
            int8: Whether to deliver the result with 8-bit weights and activations too.
            training_seeds: Full trainings of the result, 1 to 8; the best on validation images is
                delivered, and `result.seed_accuracies` has all.

        Raises:
            InvalidRequestError: the request cannot be met, with every violation found.
        """
        return JobHandle(run(self._operations.create(network, dataset, options, request_id)))

    @with_options(PlanOptions)
    def plan(
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
        return run(self._operations.plan(network, dataset, options, max_candidates))

    def job(self, name: str) -> JobHandle:
        """Return the handle of a job, by `jobs/{id}` or the id; nothing is asked yet."""
        return JobHandle(self._operations.job(name))

    def jobs(
        self,
        states: Iterable[JobState | str] | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        page_size: int = 100,
    ) -> Generator[Job, None, None]:
        """Yield the caller's jobs, newest first.

        Networks that were sent or found are empty in them, and of a job's progress there are phase
        and steps alone; `client.job(name).status()` has all.
        """
        return iterate(self._operations.jobs(states, labels, page_size))

    def cancel(self, name: str) -> Job:
        """Ask a job to stop, and return it."""
        return self.job(name).cancel()

    def delete(self, name: str) -> None:
        """Remove a job, its log and its artifacts."""
        self.job(name).delete()

    def download(self, model: Model, path: str | Path) -> None:
        """Write a result, or one of its models, as an ONNX file, whole and verified or not at all.

        Raises:
            DownloadError: what came is not what was promised.
            OSError: the file cannot be written.
        """
        run(_artifacts.save(self._transport, model, Path(path)))

    def read(self, model: Model) -> bytes:
        """Return a result, or one of its models, as the verified bytes of an ONNX file."""
        return run(_artifacts.read(self._transport, model))

    def info(self) -> ServerInfo:
        """Return the server's versions, limits, data sets, embeddings and networks."""
        return run(self._operations.info())
