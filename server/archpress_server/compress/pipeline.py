"""`compress`: the four steps in order, from a request to certified ONNX bytes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from archpress_server.compress.certify import certify
from archpress_server.compress.checks import size_budget
from archpress_server.compress.effort import EffortPlan, effort_plan
from archpress_server.compress.export import to_onnx
from archpress_server.compress.front import plan_sizes, retrain_sizes, size_of, undominated
from archpress_server.compress.quantize import (
    certify_quantized,
    quantization_warnings,
    quantize,
)
from archpress_server.compress.retrain import Trained
from archpress_server.compress.types import (
    Compression,
    CompressionError,
    FrontModel,
    Observer,
    Phase,
    Progress,
    QuantizedModel,
    Reason,
    Request,
    StoppedError,
)
from archpress_trainer.data.dataset import ImageDataset, TrainingData
from archpress_trainer.embedding.interface import Embedding
from archpress_trainer.space.build import build
from archpress_trainer.space.widths import SizeBudget
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
    ladder = plan_sizes(
        request, embedding, effort.trained_candidates, on_progress=_Watched(observer)
    )
    if not ladder.sizes:
        raise CompressionError(
            Reason.BUDGET_UNREACHABLE, "the embedding's decodes gave no valid candidate"
        )
    for warning in ladder.warnings:
        observer.warning(warning)
    for candidates in ladder.sizes:
        for candidate in candidates:
            observer.candidate(candidate)
    data = dataset.split()
    trained = retrain_sizes(ladder, data, effort, request.seed, compute, observer)
    front = undominated(trained, size_of(request.budget))
    if len(front) < len(trained):
        dropped = len(trained) - len(front)
        observer.warning(
            f"{dropped} of {len(trained)} models are left out, since smaller ones are as good"
        )
    budget = size_budget(request.budget, ladder.costs_before)
    models, int8 = _deliver(request, front, dataset, data, budget, observer, threads)
    result = Compression(
        model=models[0].model,
        architecture=models[0].architecture,
        costs_before=ladder.costs_before,
        costs_after=models[0].costs,
        prediction=models[0].prediction,
        validation_accuracy=models[0].validation_accuracy,
        certificate=models[0].certificate,
        embedding=embedding.manifest.name,
        budget_met=True,
        seconds=time.perf_counter() - started,
        front=models if request.pareto_models > 1 else (),
        int8=int8,
    )
    return _within_floor(result, request)


def _deliver(
    request: Request,
    front: Sequence[Trained],
    dataset: ImageDataset,
    data: TrainingData,
    budget: SizeBudget,
    observer: Observer,
    threads: int,
) -> tuple[tuple[FrontModel, ...], QuantizedModel | None]:
    """Export and certify the models, and the first of them in 8 bits if that was asked for."""
    steps = len(front) + request.int8
    observer.progress(Progress(Phase.EXPORT, total_steps=steps))
    files = [to_onnx(trained.network, data.normalisation) for trained in front]
    quantized = quantize(files[0], data.train) if request.int8 else None
    generator = torch.Generator().manual_seed(request.seed % 2**63)
    untrained = build(request.architecture, generator).eval()
    input_model = to_onnx(untrained, data.normalisation)
    test = dataset.test()
    models = []
    for step, (trained, file) in enumerate(zip(front, files, strict=True)):
        _stop_if_asked(observer)
        observer.progress(Progress(Phase.CERTIFY, step, steps))
        certificate = certify(
            file, trained.network, input_model, test, data.normalisation, budget, threads=threads
        )
        candidate = trained.candidate
        models.append(
            FrontModel(
                model=file,
                architecture=candidate.architecture,
                costs=certificate.costs,
                prediction=candidate.prediction,
                validation_accuracy=candidate.validation_accuracy or 0.0,
                certificate=certificate,
            )
        )
    int8 = None
    if quantized is not None:
        _stop_if_asked(observer)
        int8 = certify_quantized(
            quantized, files[0], test, data.train, dataset.input_shape, threads=threads
        )
        for warning in quantization_warnings(int8, models[0].certificate):
            observer.warning(warning)
    observer.progress(Progress(Phase.CERTIFY, steps, steps, message="certified"))
    return tuple(models), int8


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
