"""Step 3, retrain: rounds of short training that halve the candidates, then the best in full."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from archpress_server.compress.conditions import Conditions
from archpress_server.compress.legacy import Legacy
from archpress_server.compress.pace import Pace
from archpress_server.compress.training_run import TrainingRun, run_training
from archpress_server.compress.types import (
    Candidate,
    CompressionError,
    Phase,
    Progress,
    Reason,
    StoppedError,
)
from archpress_server.compress.work import work_from
from archpress_trainer.data.dataset import TrainingData
from archpress_trainer.space.build import Network
from archpress_trainer.training.loop import Status, Step, TrainResult
from archpress_trainer.training.recipe import Recipe

_REPEAT = 1_000_003
"""Between the seeds of a candidate's full trainings, and so far from those of other candidates."""


@dataclass(frozen=True)
class Trained:
    """A candidate with its trained network, on the CPU and in evaluation mode.

    `first_round` holds the candidates that the first round trained, best first, with their
    validation accuracies; it is empty where there was one candidate only. `seed_accuracies` are
    those of all its full trainings that finished. `others` are the candidates that it won against
    when all were trained in full, best first; `tried` has the ranks of these, its own and those of
    the ones that diverged.
    """

    candidate: Candidate
    network: Network
    first_round: tuple[Candidate, ...] = ()
    seed_accuracies: tuple[float, ...] = ()
    others: tuple[Trained, ...] = ()
    tried: frozenset[int] = frozenset()

    @property
    def accuracy(self) -> float:
        """What it reaches on validation images."""
        return self.candidate.validation_accuracy or 0.0


def retrain(
    candidates: Sequence[Candidate], conditions: Conditions, legacy: Legacy | None = None
) -> Trained:
    """Return the best of the candidates, trained by the effort's final recipe.

    The `legacy` may teach in full trainings, and leaves its weights to the heir among the
    candidates, which without it starts from nothing like the others. Short trainings tell nothing
    of an heir beside those that start from nothing, so it is trained in full beside their winner,
    and the better one is returned. Decisions use validation images only. The observer hears of
    every candidate that was trained, in an earlier attempt too, but not of what is returned:
    whether it is chosen is for others to say.

    Raises:
        StoppedError: the observer asked to stop.
        CompressionError: every training diverged.
    """
    session = _Session(conditions, legacy)
    if legacy is None:
        candidates = [replace(candidate, inherits=False) for candidate in candidates]
    heirs = [candidate for candidate in candidates if candidate.inherits]
    searched = [candidate for candidate in candidates if not candidate.inherits]
    winner, first_round = _searched(session, searched, heirs)
    session.plan_work([], 0, heirs)
    both = [winner, *(_in_full(session, heir) for heir in heirs)]
    finished = [trained for trained in both if trained is not None]
    if not finished:
        raise _diverged([*searched, *heirs])
    finished.sort(key=lambda trained: -trained.accuracy)
    best, *others = (
        replace(trained, first_round=tuple(first_round), tried=frozenset(session.tried))
        for trained in finished
    )
    for trained in others:
        session.observer.candidate(trained.candidate)
    return replace(best, others=tuple(others))


def _searched(
    session: _Session, candidates: Sequence[Candidate], later: Sequence[Candidate]
) -> tuple[Trained | None, list[Candidate]]:
    """Return the winner of the rounds, and those that the first round trained, best first.

    A round in which all diverge is one too many: those that it began with are the last ones. Where
    the winner's full trainings diverge, the next of them wins, then the next in rank. There is none
    where all diverge, or did in the first round. What is trained in full `later` counts in the
    progress.
    """
    remaining = list(candidates)
    index = 0
    first: list[Candidate] = []
    while len(remaining) > 1:
        session.plan_work(remaining, index, later)
        trained = _round(session, remaining, index)
        first = first or trained
        if not first:
            return None, first
        if not trained:
            break
        remaining = trained[: max(1, len(remaining) // 2)]
        index += 1
    known = {candidate.rank for candidate in remaining}
    others = [candidate for candidate in candidates if candidate.rank not in known]
    for winner in (*remaining, *others):
        session.plan_work([winner], index, later)
        trained_fully = _in_full(session, winner)
        if trained_fully is not None:
            return trained_fully, first
    return None, first


def _in_full(session: _Session, candidate: Candidate) -> Trained | None:
    """Train a candidate from each seed and return the best; None where all diverge."""
    session.tried.add(candidate.rank)
    recipe = session.effort.recipe_for(candidate.costs.macs, len(session.data.train))
    accuracies: list[float] = []
    best: Network | None = None
    for repeat in range(session.effort.training_seeds):
        network, result = session.run(candidate, recipe, session.data, repeat=repeat, in_full=True)
        if result.status is not Status.FINISHED:
            continue
        if result.accuracy > max(accuracies, default=-1.0):
            best = network.cpu()
        accuracies.append(result.accuracy)
    if best is None:
        return None
    trained = replace(candidate, validation_accuracy=max(accuracies))
    return Trained(trained, best, seed_accuracies=tuple(accuracies))


def _round(session: _Session, remaining: list[Candidate], index: int) -> list[Candidate]:
    """Train each candidate and return those that did not diverge, best first.

    Later rounds train longer.
    """
    effort = session.effort
    data = session.data.subset(effort.round_images)
    recipe = replace(effort.round_recipe, epochs=effort.round_recipe.epochs * 2**index)
    results: list[Candidate] = []
    for candidate in remaining:
        _, result = session.run(candidate, recipe, data)
        if result.status is Status.FINISHED:
            trained = replace(candidate, validation_accuracy=result.accuracy)
            session.observer.candidate(trained)
            results.append(trained)
    results.sort(key=lambda c: (-(c.validation_accuracy or 0.0), c.rank))
    return results


def _diverged(candidates: Sequence[Candidate]) -> CompressionError:
    return CompressionError(
        Reason.TRAINING_DIVERGED,
        f"all {len(candidates)} candidates diverged in training",
        metadata={"candidates": str(len(candidates))},
    )


class _Session:
    """Runs trainings one after another and reports their progress as one count of images."""

    def __init__(self, conditions: Conditions, legacy: Legacy | None) -> None:
        self.data = conditions.data.to(conditions.compute.device)
        self.effort = conditions.effort
        self.observer = conditions.observer
        self.tried: set[int] = set()
        """Ranks of those that were trained in full, whether they diverged or not."""
        self._conditions = conditions
        self._legacy = legacy
        self._teacher_macs = legacy.teacher_macs if legacy else 0
        self._done = 0.0
        self._total = 1.0
        self._share = 0.0
        self._pace = Pace()

    def plan_work(
        self, candidates: Sequence[Candidate], index: int, later: Sequence[Candidate]
    ) -> None:
        """Estimate all work from a round on; those for `later` are trained in full."""
        work = work_from(index, candidates, later, self.effort, self.data, self._teacher_macs)
        self._total = self._done + work

    def run(
        self,
        candidate: Candidate,
        recipe: Recipe,
        data: TrainingData,
        *,
        repeat: int = 0,
        in_full: bool = False,
    ) -> tuple[Network, TrainResult]:
        """Train one candidate; equal candidates, recipes and repeats get equal seeds.

        Only what is trained in full has the legacy, and is sure to come back trained.
        """
        seed = self._conditions.seed * 31 + candidate.rank + _REPEAT * repeat
        macs, images = candidate.costs.macs, len(data.train)
        work = (
            self.effort.full_work(macs, images, self._teacher_macs)
            if in_full
            else float(macs * images * recipe.epochs)
        )
        label = f"candidate {candidate.rank}, {recipe.epochs} epochs ({recipe.name})"
        if repeat:
            label += f", seed {repeat + 1}"

        def observe(step: Step) -> bool:
            if self.observer.should_stop():
                return False
            share = step.step / step.total_steps
            self._report(work * share, step, label)
            return True

        legacy = self._legacy if in_full else None
        run = TrainingRun(
            candidate.architecture,
            data,
            recipe,
            seed,
            self._conditions.compute,
            legacy.teacher if legacy else None,
            legacy.start if legacy and candidate.inherits else None,
            evaluate_every=1,
            wanted=in_full,
        )
        network, result = run_training(run, self._conditions.checkpoints, self.observer, observe)
        if result.status is Status.STOPPED:
            raise StoppedError("stopped while training")
        self._done += work
        return network, result

    def _report(self, work: float, step: Step, label: str) -> None:
        # A new estimate may be a larger one; progress never goes back.
        self._share = max(self._share, min(1.0, (self._done + work) / self._total))
        self.observer.progress(
            Progress(
                Phase.RETRAIN,
                step=round(1000 * self._share),
                total_steps=1000,
                loss=step.loss,
                accuracy=step.accuracy,
                eta_seconds=self._pace.seconds_left(self._share),
                message=f"{label}, epoch {step.epoch}",
            )
        )
