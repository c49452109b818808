"""`compress`: the steps in order, from a request to certified ONNX bytes."""

from __future__ import annotations

import time
from dataclasses import replace

from archpress_server.compress.checkpoints import NO_CHECKPOINTS, CheckpointStore
from archpress_server.compress.conditions import Conditions
from archpress_server.compress.effort import EffortPlan, effort_plan
from archpress_server.compress.input_net import TrainedInput, input_accuracy
from archpress_server.compress.optimism import optimism
from archpress_server.compress.steps import Steps
from archpress_server.compress.types import (
    Compression,
    Observer,
    Phase,
    Progress,
    Request,
)
from archpress_server.compress.verdict import judge, slower_warning
from archpress_trainer.data.dataset import ImageDataset
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
        input_network: the request's network with trained weights, which may teach the result
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
    effort = effort or effort_plan(
        request.effort,
        request.method,
        request.dataset,
        dataset.input_shape,
        flip=embedding.manifest.flip,
    )
    effort = replace(effort, training_seeds=max(effort.training_seeds, request.training_seeds))
    observer.progress(Progress(Phase.VALIDATE, message=f"embedding {embedding.manifest.name}"))
    conditions = Conditions(
        dataset.split(), effort, request.seed, compute or best_compute(), observer, checkpoints
    )
    steps = Steps(request, dataset, conditions, threads)
    inheriting = steps.trains_input or input_network is not None
    ladder = steps.planned(embedding, inheriting, input_network is not None)
    shares = steps.shares(ladder, input_network)
    source = steps.trained_input(input_network, shares)
    before, legacy = None, None
    if source is not None:
        before = input_accuracy(source, dataset.test(), threads=threads)
        legacy = steps.legacy(source, ladder)
    sizes = steps.trained_sizes(ladder, legacy, shares)
    delivered = steps.delivered(sizes, ladder, legacy)
    first = delivered.models[0]
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
        optimism=optimism(
            delivered.best.first_round, effort, embedding.manifest, len(conditions.data.train)
        ),
        front=delivered.models if request.pareto_models > 1 else (),
        int8=delivered.int8,
        seed_accuracies=delivered.best.seed_accuracies,
    )
    slower = slower_warning(result)
    if slower is not None:
        observer.warning(slower)
    return judge(result, request)
