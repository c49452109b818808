"""`compress`: the four steps in order, from a request to certified ONNX bytes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from archpress_server.compress.certify import certify
from archpress_server.compress.checks import size_budget
from archpress_server.compress.effort import EffortPlan, effort_plan
from archpress_server.compress.export import to_onnx
from archpress_server.compress.input_net import input_accuracy
from archpress_server.compress.optimism import optimism
from archpress_server.compress.planning import plan
from archpress_server.compress.retrain import Trained, retrain
from archpress_server.compress.types import (
    Candidate,
    Compression,
    CompressionError,
    Observer,
    Phase,
    Plan,
    Progress,
    Reason,
    Request,
    StoppedError,
)
from archpress_server.compress.verdict import judge, slower_warning, too_slow
from archpress_trainer.data.dataset import ImageDataset, TrainingData
from archpress_trainer.embedding.interface import Embedding
from archpress_trainer.space.build import build
from archpress_trainer.training.device import Compute, best_compute


def compress(
    request: Request,
    embedding: Embedding,
    dataset: ImageDataset,
    observer: Observer,
    *,
    threads: int,
    effort: EffortPlan | None = None,
    compute: Compute | None = None,
) -> Compression:
    """Return a smaller, trained and certified network for a request.

    Args:
        request: what to compress, down to what.
        embedding: of the request's data set and method.
        dataset: the request's data set.
        observer: is told of progress and may stop the work.
        threads: of ONNX Runtime while certifying.
        effort: replaces what the request's effort means.
        compute: where to train; the best there is by default.

    Raises:
        RequestError: the request is invalid or infeasible; nothing was done.
        StoppedError: the observer asked to stop.
        CompressionError: nothing could be delivered. With BUDGET_UNREACHABLE its `best` is the
            trained network that missed the accuracy or latency asked for.
    """
    started = time.perf_counter()
    compute = compute or best_compute()
    effort = effort or effort_plan(
        request.effort, request.method, request.dataset, dataset.input_shape
    )
    observer.progress(Progress(Phase.VALIDATE, message=f"embedding {embedding.manifest.name}"))
    found = plan(request, embedding, effort.trained_candidates, on_progress=_Watched(observer))
    if not found.candidates:
        raise CompressionError(
            Reason.BUDGET_UNREACHABLE, "the embedding's decodes gave no valid candidate"
        )
    for warning in found.warnings:
        observer.warning(warning)
    for candidate in found.candidates:
        observer.candidate(candidate)
    data, seed = dataset.split(), request.seed
    before = None
    if request.budget.max_accuracy_drop is not None:
        before = input_accuracy(
            request.architecture,
            data,
            dataset.test(),
            effort,
            seed,
            compute,
            observer,
            threads=threads,
        )
    delivery = _Delivery(request, embedding, dataset, data, observer, threads, started)
    trained = retrain(found.candidates, data, effort, seed, compute, observer)
    result = delivery.certified(trained, found)
    next_best = _next_best(trained, found.candidates)
    if too_slow(result, request) and next_best is not None:
        observer.warning("the network measured over max_latency; the next candidate is trained")
        other = retrain([next_best], data, effort, seed, compute, observer)
        result = min(
            (result, delivery.certified(other, found)),
            key=lambda r: (too_slow(r, request), -r.validation_accuracy),
        )
    slower = slower_warning(result)
    if slower is not None:
        observer.warning(slower)
    return judge(
        replace(
            result,
            accuracy_before=before,
            optimism=optimism(trained.first_round, effort, embedding.manifest.fidelity),
            seconds=time.perf_counter() - started,
        ),
        request,
    )


def _next_best(trained: Trained, candidates: Sequence[Candidate]) -> Candidate | None:
    """Return the best candidate that was not chosen: of the first round, else by rank."""
    ranked = [*trained.first_round, *candidates]
    return next((c for c in ranked if c.rank != trained.candidate.rank), None)


@dataclass(frozen=True)
class _Delivery:
    """Writes and certifies what was trained."""

    request: Request
    embedding: Embedding
    dataset: ImageDataset
    data: TrainingData
    observer: Observer
    threads: int
    started: float

    def certified(self, trained: Trained, found: Plan) -> Compression:
        """Return the certified result of a training, before it is judged."""
        request, observer = self.request, self.observer
        observer.progress(Progress(Phase.EXPORT, total_steps=1))
        model = to_onnx(trained.network, self.data.normalisation)
        generator = torch.Generator().manual_seed(request.seed % 2**63)
        untrained = build(request.architecture, generator).eval()
        input_model = to_onnx(untrained, self.data.normalisation)
        _stop_if_asked(observer)
        observer.progress(Progress(Phase.CERTIFY, total_steps=1))
        measured = request.latency_table is None
        certificate = certify(
            model,
            trained.network,
            input_model,
            self.dataset.test(),
            self.data.normalisation,
            size_budget(request.budget, found.costs_before),
            threads=self.threads,
            max_latency_seconds=request.budget.max_latency_seconds if measured else None,
        )
        observer.progress(Progress(Phase.CERTIFY, step=1, total_steps=1, message="certified"))
        return Compression(
            model=model,
            architecture=trained.network.architecture,
            costs_before=found.costs_before,
            costs_after=certificate.costs,
            prediction=trained.candidate.prediction,
            validation_accuracy=trained.candidate.validation_accuracy or 0.0,
            certificate=certificate,
            embedding=self.embedding.manifest.name,
            budget_met=True,
            seconds=time.perf_counter() - self.started,
        )


class _Watched:
    """Passes progress on and turns a wish to stop into an error."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def __call__(self, progress: Progress) -> None:
        _stop_if_asked(self._observer)
        self._observer.progress(progress)


def _stop_if_asked(observer: Observer) -> None:
    if observer.should_stop():
        raise StoppedError("stopped on request")
