"""How likely an accuracy floor is, judged before any training from predictions at label fidelity.

Longer training takes errors down. We take the logarithm of the error to fall by a multiple of the
logarithm of how many times more images a network sees in its final training than in its label's,
and that multiple to be normal. Its mean is the one point that was measured: on Fashion-MNIST
networks predicted at 90% reach 93.5% by the draft's recipe, with 24 times the images. Its spread is
wide, since other data sets and efforts were not measured: the result says "hardly" and "hopeless",
no more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from archpress_server.compress.effort import effort_plan
from archpress_server.compress.types import FieldViolation, Reason, Request, RequestError
from archpress_trainer.embedding.prediction import Prediction
from archpress_trainer.training.fidelity import Fidelity

_EXPONENT, _EXPONENT_SPREAD = 0.135, 0.08
_TRAIN_IMAGES = 50_000
"""About what every data set that comes with us trains on; a plan reads no images."""
_HOPELESS = 0.001
_LIKELY = 0.5
_Z90 = 1.645
_LEAST_ERROR = 1e-6


@dataclass(frozen=True)
class Reach:
    """The accuracy that training will give: the logarithm of the error is normal."""

    log_error: NormalDist

    def probability(self, floor: float) -> float:
        """Return the probability that an accuracy of at least `floor` is reached."""
        return 0.0 if floor >= 1 else self.log_error.cdf(math.log(1 - floor))

    def quantile(self, probability: float) -> float:
        """Return the accuracy that is reached with a probability, above 0 and below 1."""
        return max(0.0, 1 - math.exp(self.log_error.inv_cdf(probability)))


def reach(prediction: Prediction, fidelity: Fidelity, epochs: int) -> Reach:
    """Return what so many epochs of final training make of a prediction at label fidelity."""
    ratio = epochs * _TRAIN_IMAGES / (fidelity.epochs * fidelity.train_images)
    longer = max(0.0, math.log(ratio))
    error = max(_LEAST_ERROR, 1 - prediction.accuracy)
    half_width = (_log_error(prediction.lower) - _log_error(prediction.upper)) / 2
    spread = math.hypot(half_width / _Z90, longer * _EXPONENT_SPREAD)
    return Reach(NormalDist(math.log(error) - _EXPONENT * longer, max(spread, _LEAST_ERROR)))


def reaching(request: Request, fidelity: Fidelity) -> Callable[[Prediction, int], Reach]:
    """Return what the request's effort makes of a prediction for a network of these MACs."""
    shape = request.architecture.input_shape
    effort = effort_plan(request.effort, request.method, request.dataset, shape)
    return lambda prediction, macs: reach(
        prediction, fidelity, effort.recipe_for(macs, _TRAIN_IMAGES).epochs
    )


def floor_warnings(
    request: Request, found: Sequence[tuple[Prediction, int]], fidelity: Fidelity
) -> list[str]:
    """Return a warning where the accuracy floor will hardly be reached.

    Args:
        request: whose floor and effort count.
        found: predictions and MACs of the candidates.
        fidelity: of the predictions.

    Raises:
        RequestError: it is hopeless, which is a probability under 0.1% for the best candidate;
            metadata name the nearest floor that is not.
    """
    floor = request.budget.min_accuracy
    if floor is None or not found:
        return []
    reach_of = reaching(request, fidelity)
    reaches = [reach_of(prediction, macs) for prediction, macs in found]
    best = max(reaches, key=lambda item: (item.probability(floor), -item.log_error.mean))
    probability = best.probability(floor)
    if probability < _HOPELESS:
        nearest = math.floor(best.quantile(_HOPELESS) * 1e4) / 1e4
        violation = FieldViolation(
            "budget.min_accuracy",
            f"is {floor:g}, which no network within the budget will reach; {nearest:g} is the most "
            "that is worth a try",
            Reason.BUDGET_INFEASIBLE,
        )
        raise RequestError((violation,), {"min_accuracy": f"{nearest:g}"})
    if probability >= _LIKELY:
        return []
    return [
        f"min_accuracy {floor:g} is reached with a probability of about {probability:.0%}; "
        f"{best.quantile(_LIKELY):.3f} is as likely as not"
    ]


def _log_error(accuracy: float) -> float:
    return math.log(max(_LEAST_ERROR, 1 - accuracy))
