"""`Steps`: what a compression does one after another; `pipeline` has the order."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import cached_property

from archpress_server.compress.affordable import planned_affordably
from archpress_server.compress.checks import check_request
from archpress_server.compress.choice import Choice
from archpress_server.compress.conditions import Conditions
from archpress_server.compress.delivery import Delivery
from archpress_server.compress.front import retrain_sizes, training_shares, undominated
from archpress_server.compress.input_net import TrainedInput, train_input
from archpress_server.compress.ladder import Ladder, kept_ladder, plan_sizes, size_of
from archpress_server.compress.latency_budget import calibrated
from archpress_server.compress.legacy import Legacy
from archpress_server.compress.retrain import Trained, retrain
from archpress_server.compress.shares import Shares
from archpress_server.compress.types import (
    Candidate,
    CompressionError,
    FrontModel,
    Method,
    Observer,
    Phase,
    Progress,
    QuantizedModel,
    Reason,
    Request,
    StoppedError,
)
from archpress_trainer.data.dataset import ImageDataset
from archpress_trainer.embedding.interface import Embedding
from archpress_trainer.one_thread import one_thread
from archpress_trainer.space.costs import count


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

    @one_thread()
    def planned(self, embedding: Embedding, inheriting: bool, given: bool = False) -> Ladder:
        """Return candidates that the effort can train for all its epochs, else what there is.

        `inheriting` and `given` are as of `plan`.

        Raises:
            RequestError: the request is invalid or infeasible.
            StoppedError: the observer asked to stop.
            CompressionError: there is no candidate.
        """
        effort, observer = self.conditions.effort, self.conditions.observer
        most, watched = effort.trained_candidates, _Watched(observer)
        images = len(self.conditions.data.train)
        check_request(self.request, embedding.manifest)

        def search() -> Ladder:
            model = calibrated(self.request, embedding.manifest.space)

            def sizes(asked: Request) -> Ladder:
                return plan_sizes(
                    asked,
                    embedding,
                    most,
                    inheriting=inheriting,
                    given=given,
                    train_images=images,
                    on_progress=watched,
                    latency_model=model,
                )

            return planned_affordably(self.request, effort, images, sizes)

        ladder = kept_ladder(self.conditions.checkpoints, embedding.manifest, search)
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
        return self.conditions.effort.trains_input(self.request.budget)

    def shares(self, ladder: Ladder, given: TrainedInput | None) -> Shares:
        """Return the shares that the trainings of the job have in its progress."""
        trains = given is None and self.trains_input
        return training_shares(
            ladder,
            self.conditions,
            self.request.architecture if trains else None,
            self._teacher_macs if trains or given is not None else 0,
        )

    def trained_input(self, given: TrainedInput | None, shares: Shares) -> TrainedInput | None:
        """Return the input network as it was given, or trained where effort or budget need it.

        Where its training diverges, a job that only wanted to learn from it goes on without.

        Raises:
            StoppedError: the observer asked to stop.
            CompressionError: the training diverged, and the budget speaks of its accuracy.
        """
        if given is not None or not self.trains_input:
            return given
        try:
            conditions = replace(self._on_device, observer=shares.part(0))
            return train_input(self.request.architecture, conditions)
        except CompressionError as error:
            if self._judges_drop:
                raise
            self.conditions.observer.warning(f"nothing is learnt from the input network: {error}")
            return None

    def legacy(self, source: TrainedInput, ladder: Ladder) -> Legacy | None:
        """Return what the input network leaves to the trainings, if it is good enough.

        The paper's method takes nothing from it.
        """
        conditions, request = self.conditions, self.request
        if request.method is Method.PAPER:
            return None
        if not _is_good(source, ladder.sizes[0][0], conditions):
            return None
        teaches = self._teacher_macs > 0
        inherits = any(candidate.inherits for size in ladder.sizes for candidate in size)
        if not teaches:
            use = "are a start, but do not teach" if inherits else "are not used"
            conditions.observer.warning(
                f"the input network's weights {use}: to ask a network of "
                f"{count(request.architecture).macs} multiply-accumulates takes longer than effort "
                f"{request.effort.value} may"
            )
        if not (teaches or inherits):
            return None
        return Legacy(source, conditions.data, conditions.compute, teaches=teaches)

    def trained_sizes(
        self, ladder: Ladder, legacy: Legacy | None, shares: Shares
    ) -> tuple[Trained, ...]:
        """Return the best of each size, trained, the largest first.

        Raises:
            StoppedError: the observer asked to stop.
            CompressionError: every training diverged.
        """
        return retrain_sizes(ladder, self._on_device, legacy, shares)

    def delivered(
        self, sizes: tuple[Trained, ...], ladder: Ladder, legacy: Legacy | None
    ) -> Delivered:
        """Certify the best of each size that no smaller one beats; the first is to be fast enough.

        The observer hears of each model that is delivered as chosen. Smaller ones whose certificate
        fails are left out with a warning, and do not count as better than others.

        Raises:
            StoppedError: the observer asked to stop.
            CompressionError: a check of the first one's certificate failed.
        """
        observer, size = self.conditions.observer, size_of(self.request.budget)
        front = undominated(sizes, size)
        files = len(sizes) + self.request.int8
        delivery = Delivery(
            self.request, self.dataset, self.conditions.data, observer, self.threads, files
        )
        choice, best = Choice(delivery), front[0]
        result = choice.result(best, sizes, lambda: self._next_trained(best, ladder, legacy))
        first, beside = choice.model(result), ladder.beside(result.candidate)
        smaller = [
            one
            for one in sizes
            if ladder.beside(one.candidate) is not beside
            and one.accuracy < result.accuracy
            and size(one.candidate.costs) < size(first.costs)
        ]
        places, failed = itertools.count(1), 0

        def sound(one: Trained) -> bool:
            nonlocal failed
            passed = choice.other(one, next(places)) is not None
            failed += not passed
            return passed

        kept = undominated(smaller, size, sound)
        left_out = len(sizes) - 1 - failed - len(kept)
        if left_out:
            slow = "" if result is best else ", or they are too slow"
            observer.warning(
                f"{left_out} of {len(sizes)} models are left out: smaller ones are as good{slow}"
            )
        for one in (result, *kept):
            observer.candidate(replace(one.candidate, chosen=True))
        models = (first, *map(choice.model, kept))
        int8 = delivery.quantized(first) if self.request.int8 else None
        observer.progress(Progress(Phase.CERTIFY, files, files, message="certified"))
        return Delivered(models, result, int8)

    def _next_trained(self, best: Trained, ladder: Ladder, legacy: Legacy | None) -> Trained | None:
        """Train the next candidate of a size in full: of the first round, else by rank.

        None where there is none, or its trainings diverge.
        """
        observer = self.conditions.observer
        ranked = [*best.first_round, *ladder.beside(best.candidate)]
        following = next((c for c in ranked if c.rank not in best.tried), None)
        if following is None:
            return None
        observer.warning("the network measured over max_latency; the next candidate is trained")
        try:
            trained = retrain([following], self._on_device, legacy)
        except CompressionError as error:
            observer.warning(f"candidate {following.rank} is left out: {error}")
            return None
        observer.candidate(trained.candidate)
        return replace(trained, first_round=best.first_round)

    @cached_property
    def _on_device(self) -> Conditions:
        """The conditions with one copy of the data: a teacher knows images by their place."""
        conditions = self.conditions
        return replace(conditions, data=conditions.data.to(conditions.compute.device))

    @property
    def _teacher_macs(self) -> int:
        """Multiply-accumulates of the input network as a teacher, 0 where it may not be one."""
        macs, images = count(self.request.architecture).macs, len(self.conditions.data.train)
        asked = self.request.method is not Method.PAPER
        return macs if asked and self.conditions.effort.affords_teacher(macs, images) else 0

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
