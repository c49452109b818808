"""`Planner`: plans and draws in a process of its own, so that no call waits for a calculation."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archpress_server.compress.layer_work import LatencyModel
from archpress_server.compress.types import Plan, Request
from archpress_server.jobs.model import Event, JobRecord
from archpress_trainer.data.dataset import DatasetError
from archpress_trainer.data.registry import DataSources
from archpress_trainer.embedding.manifest import MANIFEST_FILE, ArtifactError, read_manifest
from archpress_trainer.processes import worker_pool
from archpress_trainer.space.architecture_space import ArchitectureSpace

if TYPE_CHECKING:
    from archpress_trainer.embedding.interface import Embedding


MOST_SECONDS = 120.0
"""For one plan, report or look at a data set."""


class TooLongError(Exception):
    """The planning process took too long and was ended; the message says how long it may take."""


@dataclass(frozen=True)
class DatasetFacts:
    """What a data set holds: images by part, classes, shape, fingerprint."""

    input_shape: tuple[int, int, int]
    classes: int
    train_images: int
    validation_images: int
    test_images: int
    fingerprint: str


class Planner:
    """One spawned process that plans, draws and looks at data sets, started when first needed.

    It has one thread, since others would have to wait for CPUs that train (ADR 40).
    """

    def __init__(self) -> None:
        """Start nothing yet."""
        self._pool: ProcessPoolExecutor | None = None
        self._turn = asyncio.Lock()
        self._latency_models: dict[str, LatencyModel] = {}
        self._train_images: dict[str, int] = {}

    async def plan(
        self, request: Request, folder: Path, max_candidates: int, *, given: bool = False
    ) -> Plan:
        """Return a plan; trained weights of the input network may be `given` to the job.

        How many images there are counts once the data set was looked at.

        Raises:
            RequestError: the request cannot be met.
        """
        model = None
        if request.measures_latency:
            model = await self._latency_model(folder)
        images = self._train_images.get(request.dataset)
        answer = await self._run(_plan, request, folder, max_candidates, model, images, given)
        assert isinstance(answer, Plan)
        return answer

    async def dataset_facts(self, sources: DataSources, name: str) -> DatasetFacts | None:
        """Return what a data set holds; None if it is not on this machine or damaged."""
        answer = await self._run(_dataset_facts, sources, name)
        assert answer is None or isinstance(answer, DatasetFacts)
        if answer is not None:
            self._train_images[name] = answer.train_images
        return answer

    async def report(self, job: JobRecord, events: Sequence[Event], folder: Path | None) -> bytes:
        """Return a job's report as HTML; `folder` is its embedding's, if that is still there."""
        answer = await self._run(_report, job, tuple(events), folder)
        assert isinstance(answer, bytes)
        return answer

    async def _latency_model(self, folder: Path) -> LatencyModel:
        """Return the model of this machine for an embedding's networks, calibrated once."""
        space = read_manifest(folder).space
        if space.digest not in self._latency_models:
            model: Any = await self._run(_calibrate, space)
            self._latency_models[space.digest] = model
        return self._latency_models[space.digest]

    def close(self) -> None:
        """Stop the process without waiting for what it does."""
        pool, self._pool = self._pool, None
        if pool is not None:
            processes = list((pool._processes or {}).values())
            pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.kill()

    async def _run(self, function: object, *arguments: object) -> object:
        """Return what a function returns in the process.

        Raises:
            TooLongError: it took too long.
        """
        await self._turn.acquire()
        # A caller who leaves keeps the turn until the work is done: the next has all of its time.
        work = asyncio.create_task(self._finish(function, arguments))
        work.add_done_callback(lambda _: self._turn.release())
        return await asyncio.shield(work)

    async def _finish(self, function: Any, arguments: Sequence[object]) -> object:
        loop = asyncio.get_running_loop()
        for _ in range(2):
            pool = self._start()
            work = loop.run_in_executor(pool, function, *arguments)
            done, _pending = await asyncio.wait([work], timeout=MOST_SECONDS)
            if not done:
                work.cancel()
                self.close()
                text = f"a plan or report may take {MOST_SECONDS:g} seconds, this takes longer"
                raise TooLongError(text)
            try:
                return work.result()
            except BrokenProcessPool:
                if self._pool is not pool:
                    raise
                self._pool = None
        raise RuntimeError("the planning process died twice")

    def _start(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = worker_pool(1, _start_process)
        return self._pool


def _start_process() -> None:
    import signal

    import torch

    # A signal to the whole group is the server's to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    # The first optimizer imports for seconds, which no plan is to wait for.
    torch.optim.SGD([torch.zeros(1)])


def _calibrate(space: ArchitectureSpace) -> LatencyModel:
    from archpress_server.compress.latency_model import calibrate

    return calibrate(space)


def _plan(
    request: Request,
    folder: Path,
    max_candidates: int,
    latency_model: LatencyModel | None,
    train_images: int | None,
    given: bool,
) -> Plan:
    from archpress_server.compress.affordable import planned_affordably
    from archpress_server.compress.effort import effort_plan
    from archpress_server.compress.planning import plan

    written = (folder / MANIFEST_FILE).stat().st_mtime_ns
    embedding = _embedding(folder, written)
    shape = embedding.manifest.space.input_shape
    effort = effort_plan(request.effort, request.method, request.dataset, shape)

    def find(asked: Request) -> Plan:
        return plan(
            asked,
            embedding,
            max_candidates,
            latency_model=latency_model,
            train_images=train_images,
            inheriting=given or effort.trains_input(request.budget),
            given=given,
        )

    if train_images is None:
        return find(request)
    return planned_affordably(request, effort, train_images, find)


def _report(job: JobRecord, events: tuple[Event, ...], folder: Path | None) -> bytes:
    from archpress_server.report.facts import JobFacts
    from archpress_server.report.page import render

    labelled = () if folder is None else _labelled(folder)
    return render(JobFacts(job, events, labelled)).encode()


def _labelled(folder: Path) -> tuple[tuple[int, float], ...]:
    """Return parameters and accuracy of an embedding's nets; none where it is gone or damaged."""
    try:
        exemplars = _embedding(folder, (folder / MANIFEST_FILE).stat().st_mtime_ns).exemplars
    except (ArtifactError, OSError):
        return ()
    return tuple((exemplar.costs.params, exemplar.accuracy) for exemplar in exemplars)


@lru_cache(maxsize=4)
def _embedding(folder: Path, written: int) -> Embedding:
    """Return an artifact's embedding, read again once it was written anew."""
    from archpress_trainer.embedding.artifact import load

    embedding = load(folder)
    # A full collection would walk it, for a third of a second, in every other plan.
    gc.collect()
    gc.freeze()
    return embedding


def _dataset_facts(sources: DataSources, name: str) -> DatasetFacts | None:
    try:
        data = replace(sources, download=False).load(name)
    except DatasetError:
        return None
    train = data.training_count
    return DatasetFacts(
        data.input_shape,
        data.classes,
        train,
        len(data.train_labels) - train,
        len(data.test_labels),
        data.fingerprint,
    )
