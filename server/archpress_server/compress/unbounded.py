"""The order of networks where no size is limited: the smallest that is good enough comes first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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


def smallest_good(
    found: Sequence[Scored],
    request: Request,
    embedding: Embedding,
    train_images: int | None = None,
) -> list[Scored]:
    """Return networks by size, those first that are predicted to be good enough.

    That is to reach `min_accuracy`, where it is set alone, or else to lose no more than
    `max_accuracy_drop` against the input network, and both where both are set. Networks larger than
    the input are left out while there are others.

    Args:
        found: best first.
        request: whose budget limits no size.
        embedding: has scored them.
        train_images: of the final training, where they are known.
    """
    most = count(request.architecture).params
    allowed = [scored for scored in found if scored.costs.params <= most] or list(found)
    is_good = _good_enough(found, request, embedding, train_images)
    good = [scored for scored in allowed if is_good(scored)]
    good.sort(key=lambda scored: (scored.costs.params, scored.architecture.digest))
    return good + [scored for scored in allowed if not is_good(scored)]


def _good_enough(
    found: Sequence[Scored], request: Request, embedding: Embedding, train_images: int | None
) -> Callable[[Scored], bool]:
    floor, drop = request.budget.min_accuracy, request.budget.max_accuracy_drop
    reach_of = reaching(request, embedding.manifest.fidelity, train_images)
    bar = 0.0
    if floor is None or drop is not None:
        # A drop is taken as one of predictions, which differ more than full trainings do.
        loss = _TOLERATED_LOSS if drop is None else drop
        bar = _input_prediction(found, request, embedding) - loss

    def is_good(scored: Scored) -> bool:
        # A prediction that is not a number is good for nothing.
        if not scored.prediction.accuracy >= bar:
            return False
        if floor is None:
            return True
        return reach_of(scored.prediction, scored.costs.macs).probability(floor) >= _NEARLY_SURE

    return is_good


def _input_prediction(found: Sequence[Scored], request: Request, embedding: Embedding) -> float:
    """Return the accuracy predicted for the input, or for the best where it cannot be read."""
    try:
        return embedding.predict([reading_form(request.architecture)])[0].accuracy
    except OutsideSpaceError:
        return max((scored.prediction.accuracy for scored in found), default=0.0)
