"""Trained models of several sizes: all sizes of a ladder trained, and what remains of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from archpress_server.compress.conditions import Conditions
from archpress_server.compress.ladder import Ladder, size_name
from archpress_server.compress.legacy import Legacy
from archpress_server.compress.pace import Pace
from archpress_server.compress.retrain import Trained, retrain
from archpress_server.compress.types import (
    Candidate,
    CompressionError,
    Observer,
    Progress,
)
from archpress_trainer.space.costs import Costs

_STEPS = 1000


def retrain_sizes(
    ladder: Ladder, conditions: Conditions, legacy: Legacy | None = None
) -> tuple[Trained, ...]:
    """Return the best of each size, trained in full, the largest first.

    The `legacy` teaches, and heirs start from its weights. A size whose trainings all diverge is
    left out with a warning.

    Raises:
        StoppedError: the observer asked to stop.
        CompressionError: every training of every size diverged.
    """
    observer = conditions.observer
    # Once for all sizes: a teacher knows images again by their place in memory.
    conditions = replace(conditions, data=conditions.data.to(conditions.compute.device))
    works = [_work(candidates, conditions) for candidates in ladder.sizes]
    total, pace = sum(works), Pace()
    trained: list[Trained] = []
    failure: CompressionError | None = None
    for index, candidates in enumerate(ladder.sizes):
        begin = sum(works[:index]) / total
        name = size_name(index, len(works))
        part = _Part(observer, name, begin, works[index] / total, pace)
        try:
            trained.append(retrain(candidates, replace(conditions, observer=part), legacy))
        except CompressionError as error:
            failure = error
            if name:
                observer.warning(f"{name} is left out: {error}")
    if failure is not None and not trained:
        raise failure
    return tuple(trained)


def undominated(models: Iterable[Trained], size: Callable[[Costs], int]) -> tuple[Trained, ...]:
    """Return those that are better on validation images than every smaller one, largest first."""
    ordered = sorted(models, key=lambda m: (size(m.candidate.costs), -_validated(m)))
    kept: list[Trained] = []
    for model in ordered:
        if not kept or _validated(model) > _validated(kept[-1]):
            kept.append(model)
    return tuple(reversed(kept))


def _validated(model: Trained) -> float:
    return model.candidate.validation_accuracy or 0.0


def _work(candidates: Sequence[Candidate], conditions: Conditions) -> float:
    """Return what training some candidates in full costs, against other candidates."""
    searched = [candidate.costs.macs for candidate in candidates if not candidate.inherits]
    in_full = [candidate.costs.macs for candidate in candidates if candidate.inherits]
    if searched:
        in_full.append(round(sum(searched) / len(searched)))
    images = len(conditions.data.train)
    return float(sum(m * conditions.effort.recipe_for(m, images).epochs for m in in_full))


class _Part:
    """Passes on what the trainings of one size tell, their progress as a share of all trainings."""

    def __init__(
        self, observer: Observer, name: str, begin: float, share: float, pace: Pace
    ) -> None:
        self._observer = observer
        self._name = name
        self._begin = begin
        self._share = share
        self._pace = pace

    def progress(self, progress: Progress) -> None:
        done = self._begin + self._share * progress.step / progress.total_steps
        self._observer.progress(
            replace(
                progress,
                step=round(_STEPS * done),
                total_steps=_STEPS,
                eta_seconds=self._pace.seconds_left(done),
                message=", ".join(filter(None, (self._name, progress.message))),
            )
        )

    def candidate(self, candidate: Candidate) -> None:
        self._observer.candidate(candidate)

    def warning(self, text: str) -> None:
        self._observer.warning(text)

    def should_stop(self) -> bool:
        return self._observer.should_stop()
