"""`RayExecutor`: worker processes on a Ray cluster; the only module that imports ray.

Ray is set up here and nowhere else: no dashboard, no usage statistics, no logging of its own.
Whoever can reach a cluster without authentication can run any program on it, so authentication is
by token unless `RAY_AUTH_MODE` says `disabled`. The token is that of `RAY_AUTH_TOKEN`, else the
content of the file `RAY_AUTH_TOKEN_PATH`, else of `~/.ray/auth_token`. A cluster that is started
here without any of the three gets a new token, which is in the environment of its processes and in
no file: Ray listens on every interface of a machine, so that the token is all that protects it. Ray
reads mode and token once per process, when it is first imported.

A cluster that exists needs `archpress-trainer[ray]` of one version, and one version of Python, on
each node. It needs no data set: the training images travel through Ray's object store, so that
every label comes from the images whose fingerprint the population has.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from archpress_trainer.data.dataset import LabelledImages, TrainingData
from archpress_trainer.data.registry import DataSources
from archpress_trainer.population.executor import Death, Labeller, Task, run_tasks
from archpress_trainer.population.records import Record
from archpress_trainer.population.spec import PopulationError, PopulationSpec

_GPU_SHARE = 0.25
_TOKEN_SETTINGS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
_TOKEN_FILE = Path("~/.ray/auth_token")
_MIN_STORE_BYTES = 100 * 2**20
_CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class RayExecutor:
    """Worker processes (actors) on a Ray cluster, each with one thread and the data in memory."""

    sources: DataSources
    address: str | None = None
    """HOST:PORT of a cluster, or "auto" on one of its nodes; None starts one on this machine."""
    workers: int | None = None
    """None is as many as the cluster has room for at the start."""
    cpus_per_worker: float = 1.0
    gpus_per_worker: float | None = None
    """None is a quarter where the cluster has GPUs, since small nets leave one idle, else none."""
    attempts: int = 2
    start_seconds: float = 600.0
    """How long to wait for the first worker: a cluster may be full, or may have to grow."""

    def run(self, spec: PopulationSpec, tasks: Iterable[Task]) -> Generator[Record]:
        """Yield a record per task."""
        waiting = list(tasks)
        if not waiting:
            return
        data = _own_memory(
            self.sources.load(spec.dataset).split().first(spec.fidelity.train_images)
        )
        with (
            _connected(self.address, self._cpus(), _store_bytes(data)) as ray,
            closing(self._workers(ray, spec, data)) as workers,
        ):
            yield from run_tasks(workers, waiting, self.attempts)

    def _cpus(self) -> float:
        """Return what a cluster of our own must have, for as many workers as were asked for."""
        return self.cpus_per_worker * self.workers if self.workers else float(os.cpu_count() or 1)

    def _workers(self, ray: ModuleType, spec: PopulationSpec, data: TrainingData) -> _RayWorkers:
        resources = ray.cluster_resources()
        cpus, gpus = resources.get("CPU", 0.0), resources.get("GPU", 0.0)
        share = self.gpus_per_worker
        if share is None:
            share = _GPU_SHARE if gpus else 0.0
        room = int(cpus / self.cpus_per_worker)
        if share:
            room = min(room, int(gpus / share))
        places = self.workers or room
        if places < 1:
            raise PopulationError(
                f"the Ray cluster has {cpus:g} CPUs and {gpus:g} GPUs, "
                f"and one worker needs {self.cpus_per_worker:g} and {share:g}"
            )
        actor = ray.remote(
            num_cpus=self.cpus_per_worker, num_gpus=share, max_restarts=0, max_task_retries=0
        )(RayWorker)
        return _RayWorkers(ray, actor, places, (spec, ray.put(data), share > 0), self.start_seconds)


class RayWorker:
    """The actor; `prepare` is not its constructor so that its errors are told from a death."""

    def prepare(self, spec: PopulationSpec, data: TrainingData, gpu: bool) -> None:
        """Load what every net needs.

        Raises:
            PopulationError: there should be a GPU, and torch sees none.
        """
        import torch

        if not gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        elif not torch.cuda.is_available():
            raise PopulationError("the cluster gave it a GPU, but its torch sees none")
        self._labeller = Labeller(spec, data)

    def label(self, task: Task) -> Record:
        """Return the record of one net."""
        return self._labeller(task)


class _RayWorkers:
    def __init__(
        self,
        ray: ModuleType,
        actor: Any,
        places: int,
        arguments: tuple[object, ...],
        start_seconds: float,
    ) -> None:
        self.places = places
        self._ray = ray
        self._actor = actor
        self._arguments = arguments
        self._deadline: float | None = time.monotonic() + start_seconds
        self._workers: dict[int, Any] = {}
        self._pending: dict[Any, int] = {}
        self._starting: set[int] = set()

    def start(self, place: int) -> None:
        if place in self._workers:
            self._ray.kill(self._workers.pop(place))
        self._workers[place] = worker = self._actor.remote()
        self._pending[worker.prepare.remote(*self._arguments)] = place
        self._starting.add(place)

    def give(self, place: int, task: Task) -> None:
        self._pending[self._workers[place].label.remote(task)] = place

    def wait(self) -> tuple[int, Record | Death | None]:
        errors = self._ray.exceptions
        answer = self._next_answer()
        place = self._pending.pop(answer)
        starting = place in self._starting
        self._starting.discard(place)
        try:
            result = self._ray.get(answer)
        except errors.RayTaskError as error:
            if starting:
                reason = _first_line(error.cause)
                raise PopulationError(f"a worker cannot start: {reason}") from error
            raise
        except (errors.RayActorError, errors.OutOfMemoryError) as error:
            return place, Death(_how_it_ended(error))
        self._deadline = None
        assert result is None or isinstance(result, Record)
        return place, result

    def _next_answer(self) -> Any:
        limit = None
        if self._deadline is not None:
            limit = max(0.0, self._deadline - time.monotonic())
        ready, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=limit)
        if not ready:
            raise PopulationError(
                "no worker could start in time: the Ray cluster has too few CPUs or GPUs free"
            )
        return ready[0]

    def close(self) -> None:
        for worker in self._workers.values():
            self._ray.kill(worker)


@contextmanager
def _connected(address: str | None, cpus: float, store_bytes: int) -> Iterator[ModuleType]:
    """Connect to a cluster, or start one and stop it in the end; yield ray."""
    if address is not None and address.startswith("ray://"):
        raise PopulationError(
            f"{address} is an address of Ray Client; run on a node of the cluster with its "
            "HOST:PORT or auto"
        )
    if address is not None:
        _check_reachable(address)
    ray = _import_ray(new_cluster=address is None)
    if ray.is_initialized():
        raise PopulationError("this process is connected to a Ray cluster already")
    # Sockets lie in here, and their paths must be short.
    parent = "/tmp" if os.name == "posix" else None
    folder = tempfile.mkdtemp(prefix="archpress-", dir=parent) if address is None else None
    try:
        try:
            if folder is None:
                ray.init(address=address, configure_logging=False, log_to_driver=False)
            else:
                ray.init(
                    address="local",
                    num_cpus=max(1, round(cpus)),
                    object_store_memory=store_bytes,
                    include_dashboard=False,
                    configure_logging=False,
                    log_to_driver=False,
                    # Ray lets everybody write to its folder; to the one around it, nobody.
                    _temp_dir=f"{folder}/r",
                )
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            where = "start Ray" if address is None else f"connect to Ray at {address}"
            raise PopulationError(f"cannot {where}: {_first_line(error)}") from error
        yield ray
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _check_reachable(address: str) -> None:
    """Try the port of a HOST:PORT: Ray itself would try it for minutes, then end the process."""
    host, colon, port = address.rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise PopulationError(f"cannot connect to Ray at {address}: {error}") from error


def _import_ray(*, new_cluster: bool) -> ModuleType:
    """Import ray with its authentication and usage statistics set."""
    mode = os.environ.setdefault("RAY_AUTH_MODE", "token").lower()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    has_token = any(os.environ.get(name) for name in _TOKEN_SETTINGS)
    if mode == "token" and not has_token and not _TOKEN_FILE.expanduser().exists():
        if not new_cluster:
            raise PopulationError(
                f"no token for the Ray cluster: set {' or '.join(_TOKEN_SETTINGS)} or write "
                f"{_TOKEN_FILE}; for a cluster without authentication set RAY_AUTH_MODE=disabled"
            )
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    try:
        import ray
        import ray.exceptions
        from ray._private.authentication.authentication_utils import is_token_auth_enabled
    except ImportError as error:
        raise PopulationError(
            f"--executor ray needs ray: install archpress-trainer[ray] ({error})"
        ) from error
    if is_token_auth_enabled() != (mode == "token"):
        raise PopulationError(
            f"ray was imported before RAY_AUTH_MODE was {mode}; set it before this process starts"
        )
    return ray


def _own_memory(data: TrainingData) -> TrainingData:
    """Return a copy: a tensor that is part of another one would travel with all of it."""
    train, validation = (
        LabelledImages(part.images.clone(), part.labels.clone())
        for part in (data.train, data.validation)
    )
    return TrainingData(train, validation, data.normalisation, data.classes)


def _store_bytes(data: TrainingData) -> int:
    parts = (data.train, data.validation)
    return max(_MIN_STORE_BYTES, 2 * sum(part.images.nbytes + part.labels.nbytes for part in parts))


def _how_it_ended(error: Exception) -> str:
    """Return the telling part of Ray's paragraph."""
    text = str(error)
    _, found, detail = text.partition("Worker exit detail: ")
    return (detail if found else text).split(". Some common causes")[0].splitlines()[0][:200]


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
