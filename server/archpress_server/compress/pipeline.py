"""`compress`: the four steps in order, from a request to certified ONNX bytes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from archpress_server.compress.affordable import planned_affordably
from archpress_server.compress.checkpoints import NO_CHECKPOINTS, CheckpointStore
from archpress_server.compress.delivery import Delivery
from archpress_server.compress.effort import EffortPlan, effort_plan
from archpress_server.compress.front import (
    Ladder,
    kept_ladder,
    plan_sizes,
    retrain_sizes,
    size_of,
    undominated,
)
from archpress_server.compress.input_net import TrainedInput, input_accuracy, train_input
from archpress_server.compress.legacy import Legacy
from archpress_server.compress.optimism import optimism
from archpress_server.compress.retrain import Trained, retrain
from archpress_server.compress.types import (
    Candidate,
    Compression,
    CompressionError,
    Observer,
    Phase,
    Progress,
    Reason,
    Request,
    StoppedError,
)
from archpress_server.compress.verdict import judge, slower_warning, too_slow
from archpress_trainer.data.dataset import ImageDataset, TrainingData
from archpress_trainer.embedding.interface import Embedding
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
    input_network: TrainedInput | None = None,
    checkpoints: CheckpointStore = NO_CHECKPOINTS,
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
        input_network: the request's network with trained weights, which then teaches the result
            and is narrowed for one more candidate; it is trained here where the effort or the
            budget needs it and it is not given.
        checkpoints: what an earlier attempt at the same request has done, and where to keep what
            this one does.

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
    effort = replace(effort, training_seeds=max(effort.training_seeds, request.training_seeds))
    observer.progress(Progress(Phase.VALIDATE, message=f"embedding {embedding.manifest.name}"))
    data, seed = dataset.split(), request.seed
    inheriting = effort.teaches or input_network is not None
    ladder = kept_ladder(
        checkpoints,
        lambda: _planned(request, embedding, effort, len(data.train), inheriting, observer),
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
    before, legacy, source = None, None, input_network
    if source is None and (effort.teaches or request.budget.max_accuracy_drop is not None):
        source = train_input(
            request.architecture, data, effort, seed, compute, observer, checkpoints
        )
    if source is not None:
        before = input_accuracy(source, dataset.test(), threads=threads)
        if inheriting and _is_good(source, ladder.sizes[0][0], data, observer):
            legacy = Legacy(source, data, compute)
    trained = retrain_sizes(ladder, data, effort, seed, compute, observer, legacy, checkpoints)
    size = size_of(request.budget)
    front = undominated(trained, size)
    if len(front) < len(trained):
        observer.warning(
            f"{len(trained) - len(front)} of {len(trained)} models are left out: "
            "smaller ones are as good"
        )
    files = len(front) + request.int8
    delivery = Delivery(request, dataset, data, observer, threads, files)
    best = front[0]
    first = delivery.certified(best)
    next_best = _next_best(best, ladder.sizes[0])
    if too_slow(first, request) and next_best is not None:
        observer.warning("the network measured over max_latency; the next candidate is trained")
        other = retrain([next_best], data, effort, seed, compute, observer, legacy, checkpoints)
        first, best = min(
            ((first, best), (delivery.certified(other), other)),
            key=lambda pair: (too_slow(pair[0], request), -pair[0].validation_accuracy),
        )
    smaller = [one for one in front[1:] if size(one.candidate.costs) < size(first.costs)]
    models = (first, *(delivery.certified(one, i) for i, one in enumerate(smaller, start=1)))
    int8 = delivery.quantized(first) if request.int8 else None
    observer.progress(Progress(Phase.CERTIFY, files, files, message="certified"))
    result = Compression(
        model=first.model,
        architecture=first.architecture,
        costs_before=ladder.costs_before,
        costs_after=first.costs,
        prediction=first.prediction,
        validation_accuracy=first.validation_accuracy,
        certificate=first.certificate,
        embedding=embedding.manifest.name,
        budget_met=True,
        seconds=time.perf_counter() - started,
        accuracy_before=before,
        optimism=optimism(best.first_round, effort, embedding.manifest.fidelity),
        front=models if request.pareto_models > 1 else (),
        int8=int8,
        seed_accuracies=best.seed_accuracies,
    )
    slower = slower_warning(result)
    if slower is not None:
        observer.warning(slower)
    return judge(result, request)


def _planned(
    request: Request,
    embedding: Embedding,
    effort: EffortPlan,
    images: int,
    inheriting: bool,
    observer: Observer,
) -> Ladder:
    """Return candidates that the effort can train for all its epochs, else what there is."""
    most, watched = effort.trained_candidates, _Watched(observer)
    return planned_affordably(
        request,
        effort,
        images,
        lambda asked: plan_sizes(
            asked, embedding, most, inheriting=inheriting, on_progress=watched
        ),
    )


_LEAST_KNOWLEDGE = 1 / 4
"""Share of a guess's errors that trained weights do not make at the least."""


def _is_good(source: TrainedInput, best: Candidate, data: TrainingData, observer: Observer) -> bool:
    """Return whether the input network knows something, and no short training is to beat it."""
    reached = source.validation_accuracy
    expected = best.prediction.accuracy if best.prediction else 0.0
    guess = float(data.validation.labels.bincount().max()) / len(data.validation)
    if reached < guess + _LEAST_KNOWLEDGE * (1 - guess):
        but = f"guessing the most frequent class {guess:.1%}"
    elif reached < expected:
        but = f"a candidate is predicted to reach {expected:.1%} after a short training"
    else:
        return True
    observer.warning(
        f"the input network's weights are not used: they classify {reached:.1%} of the validation "
        f"images, and {but}"
    )
    return False


def _next_best(trained: Trained, candidates: Sequence[Candidate]) -> Candidate | None:
    """Return the best candidate that was not chosen: of the first round, else by rank."""
    ranked = [*trained.first_round, *candidates]
    return next((c for c in ranked if c.rank != trained.candidate.rank), None)


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
