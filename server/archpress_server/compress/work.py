"""The work of trainings that are to come, in images times multiply-accumulates."""

from __future__ import annotations

from collections.abc import Sequence

from archpress_server.compress.effort import EffortPlan
from archpress_server.compress.types import Candidate
from archpress_trainer.data.dataset import TrainingData
from archpress_trainer.space.batch_norms import with_batch_norms
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture


def work_from(
    index: int,
    candidates: Sequence[Candidate],
    in_full: Sequence[Candidate],
    effort: EffortPlan,
    data: TrainingData,
    teacher_macs: int = 0,
) -> float:
    """Return the work of the rounds from one on, of their winner, and of others `in_full`.

    Who gets on is not known yet: the candidates count with the mean. Full trainings ask a teacher
    of `teacher_macs`.
    """
    images = len(data.train)

    def full(macs: int) -> float:
        return effort.training_seeds * effort.full_work(macs, images, teacher_macs)

    work = sum(full(candidate.costs.macs) for candidate in in_full)
    if not candidates:
        return work
    mean = sum(candidate.costs.macs for candidate in candidates) / len(candidates)
    rounds, alive, length = 0, len(candidates), 2**index
    while alive > 1:
        rounds += alive * length
        alive, length = max(1, alive // 2), 2 * length
    short = min(images, effort.round_images or images) * effort.round_recipe.epochs
    return work + mean * rounds * short + full(round(mean))


def input_work(architecture: Architecture, effort: EffortPlan, data: TrainingData) -> float:
    """Return the work of training the input network."""
    macs, images = count(with_batch_norms(architecture)).macs, len(data.train)
    return float(macs * effort.input_recipe_for(macs, images).epochs * images)
