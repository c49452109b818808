"""The order of networks where no size is limited: the smallest that is good enough comes first."""

from __future__ import annotations

from collections.abc import Sequence

from archpress_server.compress.decode import Scored
from archpress_server.compress.reach import reaching
from archpress_server.compress.types import Request
from archpress_trainer.embedding.codec import OutsideSpaceError
from archpress_trainer.embedding.interface import Embedding
from archpress_trainer.space.costs import count
from archpress_trainer.space.reading_form import reading_form

_TOLERATED_LOSS = 0.002
"""Predicted accuracy that is given up against the input network where no drop is allowed."""

_NEARLY_SURE = 0.9
"""Probability with which a network is to reach the floor."""


class SmallestGood:
    """Orders networks by size, those first that are predicted to be good enough.

    That is to reach `min_accuracy`, where it is set alone, or else to lose no more than
    `max_accuracy_drop` against the input network, and both where both are set. Networks larger than
    the input are left out while there are others. One that is smaller than any that was labelled is
    good only where the input is so too: no label backs its prediction.
    """

    def __init__(
        self, request: Request, embedding: Embedding, train_images: int | None = None
    ) -> None:
        """Prepare for a request whose budget limits no size.

        Args:
            request: what is asked for.
            embedding: scores the networks.
            train_images: of the final training, where they are known.
        """
        self._most = count(request.architecture).params
        labelled = min((exemplar.costs.params for exemplar in embedding.exemplars), default=0)
        self._least = labelled if labelled < self._most else 0
        self._reach_of = reaching(request, embedding.manifest.fidelity, train_images)
        self._floor = request.budget.min_accuracy
        # A drop is taken as one of predictions, which differ more than full trainings do.
        self._loss = request.budget.max_accuracy_drop
        if self._floor is None and self._loss is None:
            self._loss = _TOLERATED_LOSS
        self._input_accuracy = _predicted(request, embedding)

    def ranked(self, found: Sequence[Scored]) -> list[Scored]:
        """Return networks, of which the best come first, in this order."""
        allowed = [scored for scored in found if scored.costs.params <= self._most] or found
        bar = self._bar(found)

        def place(scored: Scored) -> tuple[bool, int, str]:
            if not self._is_good(scored, bar):
                return (True, 0, "")
            return (False, scored.costs.params, scored.architecture.digest)

        return sorted(allowed, key=place)

    def _bar(self, found: Sequence[Scored]) -> float:
        """Return the least accuracy to be predicted; the best stands in for an unread input."""
        if self._loss is None:
            return 0.0
        if self._input_accuracy is not None:
            return self._input_accuracy - self._loss
        return max((scored.prediction.accuracy for scored in found), default=0.0) - self._loss

    def _is_good(self, scored: Scored, bar: float) -> bool:
        # A prediction that is not a number is good for nothing.
        if scored.costs.params < self._least or not scored.prediction.accuracy >= bar:
            return False
        if self._floor is None:
            return True
        reach = self._reach_of(scored.prediction, scored.costs.macs)
        return reach.probability(self._floor) >= _NEARLY_SURE


def _predicted(request: Request, embedding: Embedding) -> float | None:
    """Return the accuracy predicted for the input, None where it cannot be read."""
    try:
        return embedding.predict([reading_form(request.architecture)])[0].accuracy
    except OutsideSpaceError:
        return None
