"""Accuracy floors: warned about where unlikely, refused where hopeless."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archpress_server.compress.reach import floor_warnings, reach
from archpress_server.compress.types import Budget, Reason, Request, RequestError
from archpress_trainer.embedding.prediction import Prediction
from archpress_trainer.space.named import named
from archpress_trainer.training.fidelity import Fidelity

FIDELITY = Fidelity(12_000, 3)
GOOD = Prediction(0.9, 0.89, 0.91)
UNKNOWN = Prediction(math.nan, math.nan, math.nan)


def request(floor: float | None) -> Request:
    network = named("conv-7", (1, 28, 28), 10)
    return Request(network, "fashion-mnist", Budget(min_accuracy=floor))


def test_the_measured_point_is_as_likely_as_not() -> None:
    assert reach(GOOD, FIDELITY, 16).quantile(0.5) == pytest.approx(0.935, abs=0.002)


@given(
    st.floats(0.02, 0.98),
    st.floats(0.0, 0.02),
    st.integers(1, 150),
    st.lists(st.floats(0.0, 1.0), min_size=2, max_size=2).map(sorted),
)
def test_probability_falls_with_the_floor_and_grows_with_the_prediction(
    accuracy: float, half: float, epochs: int, floors: list[float]
) -> None:
    here = reach(Prediction(accuracy, accuracy - half, accuracy + half), FIDELITY, epochs)
    low, high = (here.probability(floor) for floor in floors)
    assert 0 <= high <= low <= 1
    assert 0 <= here.quantile(0.9) <= here.quantile(0.1) <= 1
    worse = reach(Prediction(accuracy / 2, accuracy / 2, accuracy / 2), FIDELITY, epochs)
    assert worse.quantile(0.5) <= here.quantile(0.5)


def test_a_training_is_longer_by_the_images_that_there_are() -> None:
    own = reach(GOOD, Fidelity(460, 3), 16, 460)
    assert own == reach(GOOD, FIDELITY, 16, 12_000)
    assert own.quantile(0.5) == pytest.approx(1 - 0.1 * (16 / 3) ** -0.135, abs=1e-6)
    # Labels that may take more images than there are take all.
    assert reach(GOOD, FIDELITY, 16, 460) == own
    assert own.quantile(0.5) < reach(GOOD, FIDELITY, 16, 24_000).quantile(0.5)


def test_fewer_images_make_a_floor_less_likely() -> None:
    found = [(GOOD, 1_000_000)]
    assert floor_warnings(request(0.93), found, FIDELITY) == []
    assert floor_warnings(request(0.93), found, FIDELITY, train_images=50_000) == []
    (warning,) = floor_warnings(request(0.93), found, FIDELITY, train_images=2_000)
    assert "min_accuracy 0.93 is reached with a probability of about" in warning


def test_a_prediction_that_is_not_a_number_reaches_nothing() -> None:
    assert reach(UNKNOWN, FIDELITY, 16).probability(0.01) == 0
    with pytest.raises(RequestError):
        floor_warnings(request(0.5), [(UNKNOWN, 1_000_000)], FIDELITY)
    beside = [(UNKNOWN, 1_000_000), (GOOD, 1_000_000)]
    assert floor_warnings(request(0.95), beside, FIDELITY) == (
        floor_warnings(request(0.95), beside[1:], FIDELITY)
    )


def test_a_likely_floor_is_silent_and_an_unlikely_one_has_its_probability() -> None:
    found = [(GOOD, 1_000_000)]
    assert floor_warnings(request(None), found, FIDELITY) == []
    assert floor_warnings(request(0.0), found, FIDELITY) == []
    assert floor_warnings(request(0.92), found, FIDELITY) == []
    (warning,) = floor_warnings(request(0.95), found, FIDELITY)
    assert "min_accuracy 0.95 is reached with a probability of about" in warning


@pytest.mark.parametrize("floor", [1.0, 0.999])
def test_a_hopeless_floor_is_refused_with_the_nearest(floor: float) -> None:
    found = [(Prediction(0.6, 0.5, 0.7), 1_000_000), (GOOD, 1_000_000)]
    with pytest.raises(RequestError) as error:
        floor_warnings(request(floor), found, FIDELITY)
    assert error.value.reason is Reason.BUDGET_INFEASIBLE
    assert error.value.violations[0].path == "budget.min_accuracy"
    nearest = float(error.value.metadata["min_accuracy"])
    assert 0.94 < nearest < floor
    assert floor_warnings(request(nearest), found, FIDELITY)
    (warning,) = floor_warnings(request(floor), found, FIDELITY, tells_all=False)
    assert "probability of about 0%" in warning
    assert "leaving out what the input network brings along" in warning
