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
_USUAL_IMAGES = 50_000
"""About what every data set that comes with us trains on; a plan may not know of others."""
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


def reach(
    prediction: Prediction, fidelity: Fidelity, epochs: int, train_images: int = _USUAL_IMAGES
) -> Reach:
    """Return what so many epochs of final training make of a prediction at label fidelity.

    Of a prediction that is not a number no training makes anything.
    """
    if math.isnan(prediction.accuracy):
        return Reach(NormalDist(0.0, _LEAST_ERROR))
    labelled = min(fidelity.train_images, train_images)
    longer = max(0.0, math.log(epochs * train_images / (fidelity.epochs * labelled)))
    half_width = (_log_error(prediction.lower) - _log_error(prediction.upper)) / 2
    spread = math.hypot(half_width / _Z90, longer * _EXPONENT_SPREAD)
    mean = _log_error(prediction.accuracy) - _EXPONENT * longer
    return Reach(NormalDist(mean, max(spread, _LEAST_ERROR)))


def reaching(
    request: Request, fidelity: Fidelity, train_images: int | None = None
) -> Callable[[Prediction, int], Reach]:
    """Return what the request's effort makes of a prediction for a network of these MACs.

    `train_images` are those of the final training, where they are known.
    """
    images = train_images or _USUAL_IMAGES
    shape = request.architecture.input_shape
    effort = effort_plan(request.effort, request.method, request.dataset, shape)
    return lambda prediction, macs: reach(
        prediction, fidelity, effort.recipe_for(macs, images).epochs, images
    )


def floor_warnings(
    request: Request,
    found: Sequence[tuple[Prediction, int]],
    fidelity: Fidelity,
    *,
    train_images: int | None = None,
    tells_all: bool = True,
) -> list[str]:
    """Return a warning where the accuracy floor will hardly be reached.

    Args:
        request: whose floor and effort count.
        found: predictions and MACs of the candidates.
        fidelity: of the predictions.
        train_images: of the final training, where they are known.
        tells_all: nothing but what is predicted can reach the floor.

    Raises:
        RequestError: the predictions tell all, and it is hopeless, which is a probability under
            0.1% for the best candidate; metadata name the nearest floor that is not.
    """
    floor = request.budget.min_accuracy
    if floor is None or not found:
        return []
    reach_of = reaching(request, fidelity, train_images)
    reaches = [reach_of(prediction, macs) for prediction, macs in found]
    best = max(reaches, key=lambda item: (item.probability(floor), -item.log_error.mean))
    probability = best.probability(floor)
    if probability < _HOPELESS and tells_all:
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
    text = (
        f"min_accuracy {floor:g} is reached with a probability of about {probability:.0%}; "
        f"{best.quantile(_LIKELY):.3f} is as likely as not"
    )
    return [text if tells_all else f"{text}, leaving out what the input network brings along"]


def _log_error(accuracy: float) -> float:
    return math.log(max(_LEAST_ERROR, 1 - accuracy))
