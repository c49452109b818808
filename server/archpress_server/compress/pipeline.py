"""`compress`: the four steps in order, from a request to certified ONNX bytes."""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from archpress_server.compress.certify import certify
from archpress_server.compress.checks import size_budget
from archpress_server.compress.effort import EffortPlan, effort_plan
from archpress_server.compress.export import to_onnx
from archpress_server.compress.planning import plan
from archpress_server.compress.retrain import retrain
from archpress_server.compress.types import (
    Compression,
    CompressionError,
    Observer,
    Phase,
    Progress,
    Reason,
    Request,
    StoppedError,
)
from archpress_trainer.data.dataset import ImageDataset
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
            trained network that missed the accuracy floor.
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
        observer.progress(Progress(Phase.DECODE, message=warning))
    for candidate in found.candidates:
        observer.candidate(candidate)
    data = dataset.split()
    trained = retrain(found.candidates, data, effort, request.seed, compute, observer)
    observer.progress(Progress(Phase.EXPORT, total_steps=1))
    model = to_onnx(trained.network, data.normalisation)
    generator = torch.Generator().manual_seed(request.seed % 2**63)
    untrained = build(request.architecture, generator).eval()
    input_model = to_onnx(untrained, data.normalisation)
    _stop_if_asked(observer)
    observer.progress(Progress(Phase.CERTIFY, total_steps=1))
    certificate = certify(
        model,
        trained.network,
        input_model,
        dataset.test(),
        data.normalisation,
        size_budget(request.budget, found.costs_before),
        threads=threads,
    )
    observer.progress(Progress(Phase.CERTIFY, step=1, total_steps=1, message="certified"))
    result = Compression(
        model=model,
        architecture=trained.network.architecture,
        costs_before=found.costs_before,
        costs_after=certificate.costs,
        prediction=trained.candidate.prediction,
        validation_accuracy=trained.candidate.validation_accuracy or 0.0,
        certificate=certificate,
        embedding=embedding.manifest.name,
        budget_met=True,
        seconds=time.perf_counter() - started,
    )
    return _within_floor(result, request)


def _within_floor(result: Compression, request: Request) -> Compression:
    floor = request.budget.min_accuracy
    reached = result.certificate.accuracy
    if floor is None or reached >= floor:
        return result
    raise CompressionError(
        Reason.BUDGET_UNREACHABLE,
        f"the best network reaches {reached:.4f} on the test split, min_accuracy is {floor:g}",
        metadata={"min_accuracy": f"{reached:.6f}"},
        best=replace(result, budget_met=False),
        nearest_budget=replace(request.budget, min_accuracy=reached),
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
