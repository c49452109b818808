"""Trained models of several sizes: all sizes of a ladder trained, and what remains of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from archpress_server.compress.conditions import Conditions
from archpress_server.compress.ladder import Ladder, size_name
from archpress_server.compress.legacy import Legacy
from archpress_server.compress.retrain import Trained, retrain
from archpress_server.compress.shares import Shares
from archpress_server.compress.types import CompressionError
from archpress_server.compress.work import input_work, work_from
from archpress_trainer.space.costs import Costs
from archpress_trainer.space.graph import Architecture


def training_shares(
    ladder: Ladder,
    conditions: Conditions,
    input_network: Architecture | None = None,
    teacher_macs: int = 0,
) -> Shares:
    """Return the shares of the input network's training, if it is trained, and of each size's.

    Full trainings ask a teacher of `teacher_macs`.
    """
    effort, data = conditions.effort, conditions.data
    works = [0.0 if input_network is None else input_work(input_network, effort, data)]
    for candidates in ladder.sizes:
        searched = [candidate for candidate in candidates if not candidate.inherits]
        heirs = [candidate for candidate in candidates if candidate.inherits]
        works.append(work_from(0, searched, heirs, effort, data, teacher_macs))
    return Shares(conditions.observer, works)


def retrain_sizes(
    ladder: Ladder,
    conditions: Conditions,
    legacy: Legacy | None,
    shares: Shares,
) -> tuple[Trained, ...]:
    """Return the best of each size, trained in full, the largest first.

    The `legacy` teaches, and heirs start from its weights. A size whose trainings all diverge is
    left out with a warning. The data are on the device already, and progress is as of
    `training_shares`. Where there are several sizes the observer hears of each best when it is
    trained, long before it is chosen.

    Raises:
        StoppedError: the observer asked to stop.
        CompressionError: every training of every size diverged.
    """
    observer = conditions.observer
    trained: list[Trained] = []
    failure: CompressionError | None = None
    for index, candidates in enumerate(ladder.sizes):
        name = size_name(index, len(ladder.sizes))
        part = shares.part(index + 1, name)
        try:
            trained.append(retrain(candidates, replace(conditions, observer=part), legacy))
            if name:
                observer.candidate(trained[-1].candidate)
        except CompressionError as error:
            failure = error
            if name:
                observer.warning(f"{name} is left out: {error}")
    if failure is not None and not trained:
        raise failure
    return tuple(trained)


def undominated(
    models: Iterable[Trained],
    size: Callable[[Costs], int],
    sound: Callable[[Trained], bool] = lambda _: True,
) -> tuple[Trained, ...]:
    """Return those that are better on validation images than every smaller one, largest first.

    Of those only that are `sound`, which is asked of no others than would be returned.
    """
    ordered = sorted(models, key=lambda model: (size(model.candidate.costs), -model.accuracy))
    kept: list[Trained] = []
    for model in ordered:
        if (not kept or model.accuracy > kept[-1].accuracy) and sound(model):
            kept.append(model)
    return tuple(reversed(kept))
