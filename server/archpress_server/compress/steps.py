"""`Steps`: what a compression does one after another; `pipeline` has the order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from archpress_server.compress.affordable import planned_affordably
from archpress_server.compress.checks import check_request
from archpress_server.compress.conditions import Conditions
from archpress_server.compress.delivery import Delivery
from archpress_server.compress.front import retrain_sizes, undominated
from archpress_server.compress.input_net import TrainedInput, train_input
from archpress_server.compress.ladder import Ladder, kept_ladder, plan_sizes, size_of
from archpress_server.compress.latency_budget import calibrated
from archpress_server.compress.legacy import Legacy
from archpress_server.compress.retrain import Trained, retrain
from archpress_server.compress.types import (
    Candidate,
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
from archpress_server.compress.verdict import too_slow
from archpress_trainer.data.dataset import ImageDataset
from archpress_trainer.embedding.interface import Embedding


@dataclass(frozen=True)
class Delivered:
    """Certified models, the largest first, what training said of that one, and its INT8 copy."""

    models: tuple[FrontModel, ...]
    best: Trained
    int8: QuantizedModel | None


@dataclass(frozen=True)
class Steps:
    """What all steps of a compression share, and each step as a method."""

    request: Request
    dataset: ImageDataset
    conditions: Conditions
    threads: int

    def planned(self, embedding: Embedding, inheriting: bool) -> Ladder:
        """Return candidates that the effort can train for all its epochs, else what there is.

        Raises:
            RequestError: the request is invalid or infeasible.
            StoppedError: the observer asked to stop.
            CompressionError: there is no candidate.
        """
        effort, observer = self.conditions.effort, self.conditions.observer
        most, watched = effort.trained_candidates, _Watched(observer)
        check_request(self.request, embedding.manifest)

        def search() -> Ladder:
            model = calibrated(self.request, embedding.manifest.space)

            def sizes(asked: Request) -> Ladder:
                return plan_sizes(
                    asked,
                    embedding,
                    most,
                    inheriting=inheriting,
                    on_progress=watched,
                    latency_model=model,
                )

            return planned_affordably(self.request, effort, len(self.conditions.data.train), sizes)

        ladder = kept_ladder(self.conditions.checkpoints, search)
        if not ladder.sizes:
            raise CompressionError(Reason.BUDGET_UNREACHABLE, "; ".join(ladder.warnings))
        for warning in ladder.warnings:
            observer.warning(warning)
        for candidates in ladder.sizes:
            for candidate in candidates:
                observer.candidate(candidate)
        return ladder

    @property
    def trains_input(self) -> bool:
        """Whether effort or budget need the input network trained, where it was not given so."""
        return self.conditions.effort.teaches or self._judges_drop

    def trained_input(self, given: TrainedInput | None) -> TrainedInput | None:
        """Return the input network as it was given, or trained where effort or budget need it.

        Where its training diverges, a job that only wanted to learn from it goes on without.

        Raises:
            StoppedError: the observer asked to stop.
            CompressionError: the training diverged, and the budget speaks of its accuracy.
        """
        if given is not None or not self.trains_input:
            return given
        try:
            return train_input(self.request.architecture, self.conditions)
        except CompressionError as error:
            if self._judges_drop:
                raise
            self.conditions.observer.warning(f"nothing is learnt from the input network: {error}")
            return None

    def legacy(self, source: TrainedInput, ladder: Ladder) -> Legacy | None:
        """Return what the input network leaves to the trainings, if it is good enough."""
        if not _is_good(source, ladder.sizes[0][0], self.conditions):
            return None
        return Legacy(source, self.conditions.data, self.conditions.compute)

    def trained_front(self, ladder: Ladder, legacy: Legacy | None) -> tuple[Trained, ...]:
        """Return the best of each size that no smaller one beats, trained, the largest first.

        Raises:
            StoppedError: the observer asked to stop.
            CompressionError: every training diverged.
        """
        trained = retrain_sizes(ladder, self.conditions, legacy)
        front = undominated(trained, size_of(self.request.budget))
        if len(front) < len(trained):
            self.conditions.observer.warning(
                f"{len(trained) - len(front)} of {len(trained)} models are left out: "
                "smaller ones are as good"
            )
        return front

    def delivered(
        self, front: tuple[Trained, ...], ladder: Ladder, legacy: Legacy | None
    ) -> Delivered:
        """Certify the models; where the first is too slow, the next candidate gets a chance.

        Raises:
            StoppedError: the observer asked to stop.
            CompressionError: a check of a certificate failed.
        """
        observer, files = self.conditions.observer, len(front) + self.request.int8
        delivery = Delivery(
            self.request, self.dataset, self.conditions.data, observer, self.threads, files
        )
        best = front[0]
        first = delivery.certified(best)
        next_best = _next_best(best, ladder.sizes[0])
        if too_slow(first, self.request) and next_best is not None:
            observer.warning("the network measured over max_latency; the next candidate is trained")
            alone = retrain([next_best], self.conditions, legacy)
            other = replace(alone, first_round=best.first_round)
            first, best = min(
                ((first, best), (delivery.certified(other), other)),
                key=lambda pair: (too_slow(pair[0], self.request), -pair[0].validation_accuracy),
            )
        size = size_of(self.request.budget)
        smaller = [one for one in front[1:] if size(one.candidate.costs) < size(first.costs)]
        rest = (delivery.certified(one, place) for place, one in enumerate(smaller, start=1))
        models = (first, *rest)
        int8 = delivery.quantized(first) if self.request.int8 else None
        observer.progress(Progress(Phase.CERTIFY, files, files, message="certified"))
        return Delivered(models, best, int8)

    @property
    def _judges_drop(self) -> bool:
        return self.request.budget.max_accuracy_drop is not None


_LEAST_KNOWLEDGE = 1 / 4
"""Share of a guess's errors that trained weights do not make at the least."""


def _is_good(source: TrainedInput, best: Candidate, conditions: Conditions) -> bool:
    """Return whether the input network knows something, and no short training is to beat it."""
    validation, reached = conditions.data.validation, source.validation_accuracy
    expected = best.prediction.accuracy if best.prediction else 0.0
    guess = float(validation.labels.bincount().max()) / len(validation)
    if reached < guess + _LEAST_KNOWLEDGE * (1 - guess):
        but = f"guessing the most frequent class {guess:.1%}"
    elif reached < expected:
        but = f"a candidate is predicted to reach {expected:.1%} after a short training"
    else:
        return True
    conditions.observer.warning(
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
