"""Descent goes down the objective of the paper's equations 16 and 17, each start on its own."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch

from archpress_server.compress.descent import DescentSettings, descend
from archpress_server.compress.types import Waypoint
from archpress_trainer.embedding.artifact import load
from archpress_trainer.embedding.interface import Embedding, PointPrediction
from archpress_trainer.space.widths import SizeBudget

SETTINGS = DescentSettings(steps=1, cost_weight=3.0, caution=0.25)
START = (1.0, 0.8, math.log(1_000), math.log(50_000))


@dataclass(frozen=True)
class _Plane:
    """An embedding whose points are what is predicted there."""

    knows_macs: bool = True

    def at(self, points: torch.Tensor) -> PointPrediction:
        accuracy, uncertainty, log_params, log_macs = points.clone().unbind(1)
        return PointPrediction(
            accuracy, uncertainty, log_params, log_macs if self.knows_macs else None
        )


class _Steep(_Plane):
    """One whose gradients are not numbers where the accuracy is negative, while its values are."""

    def at(self, points: torch.Tensor) -> PointPrediction:
        found = super().at(points)
        # The root of a negative number is not chosen, but its gradient is.
        steep = torch.where(found.accuracy < 0, 0.0, found.accuracy.sqrt())
        return replace(found, accuracy=found.accuracy + 0 * steep)


class _Ravine(_Plane):
    """One that is infinitely sure of a narrow range, through which momentum carries a start."""

    def at(self, points: torch.Tensor) -> PointPrediction:
        found = super().at(points)
        gap = (found.accuracy + 1.85).abs() < 0.05
        return replace(found, accuracy=found.accuracy.masked_fill(gap, -math.inf))


def first_objective(
    starts: list[tuple[float, ...]],
    budget: SizeBudget,
    pull: list[float] | None = None,
    *,
    knows_macs: bool = True,
) -> float:
    told: list[float] = []
    descend(
        _Plane(knows_macs),  # type: ignore[arg-type]
        torch.tensor(starts, dtype=torch.float64),
        budget,
        SETTINGS,
        cost_pull=None if pull is None else torch.tensor(pull, dtype=torch.float64),
        on_step=lambda step, mean, waypoint: told.append(mean),
    )
    return told[0]


def inaccuracy(accuracy: float, uncertainty: float) -> float:
    return math.log1p(math.exp(0.25 * uncertainty - accuracy))


@pytest.mark.parametrize(
    ("budget", "excess"),
    [
        (SizeBudget(), 0.0),
        (SizeBudget(1_001, 50_001), 0.0),
        (SizeBudget(max_params=100), 3 * math.log(10) ** 2),
        (SizeBudget(max_macs=10_000), 3 * math.log(5) ** 2),
        (SizeBudget(100, 10_000), 3 * (math.log(10) ** 2 + math.log(5) ** 2)),
    ],
    ids=["no-limit", "within", "params", "macs", "both"],
)
def test_the_excess_over_each_limit_counts_by_its_square(budget: SizeBudget, excess: float) -> None:
    assert first_objective([START], budget) == pytest.approx(inaccuracy(1.0, 0.8) + excess)


def test_a_limit_of_macs_holds_only_where_macs_are_predicted() -> None:
    found = first_objective([START], SizeBudget(max_macs=10_000), knows_macs=False)
    assert found == pytest.approx(inaccuracy(1.0, 0.8))


def test_each_start_is_pulled_down_by_its_own_weight() -> None:
    other = (-0.5, 0.4, math.log(70), math.log(900))
    objectives = [
        inaccuracy(1.0, 0.8) + 0.1 * math.log(1_000),
        inaccuracy(-0.5, 0.4) + 2.0 * math.log(70),
    ]
    found = first_objective([START, other], SizeBudget(), [0.1, 2.0])
    assert found == pytest.approx(sum(objectives) / 2)


def test_each_step_is_told_with_the_medians_before_it() -> None:
    starts = torch.tensor([START, (3.0, 0.1, 2.0, 1.0), (2.0, 0.1, 5.0, 1.0)])
    told: list[tuple[int, Waypoint | None]] = []
    descend(
        _Plane(),  # type: ignore[arg-type]
        starts,
        SizeBudget(),
        DescentSettings(steps=3),
        on_step=lambda step, mean, waypoint: told.append((step, waypoint)),
    )
    assert [step for step, _ in told] == [1, 2, 3]
    first = told[0][1]
    assert first is not None
    assert first.accuracy == pytest.approx(1 / (1 + math.exp(-2.0)))
    assert first.params == pytest.approx(math.exp(5.0))


@pytest.mark.parametrize(
    ("embedding", "broken"),
    [(_Plane(), math.nan), (_Steep(), -1.0), (_Ravine(), -2.0)],
    ids=["value", "gradient", "infinite-on-the-way"],
)
def test_not_a_number_ends_that_start_only(embedding: _Plane, broken: float) -> None:
    sound = torch.tensor([START, (2.0, 0.5, 9.0, 12.0)])
    lost = sound.clone()
    lost[:, 0] = broken
    settings = DescentSettings(steps=3)
    found, alone = (
        descend(embedding, starts, SizeBudget(2_000), settings)  # type: ignore[arg-type]
        for starts in (torch.cat([lost, sound]), sound)
    )
    assert (found.lost, alone.lost) == (2, 0)
    assert torch.equal(found.points, alone.points)


def test_where_nothing_is_a_number_nothing_is_told() -> None:
    told: list[tuple[float, Waypoint | None]] = []
    found = descend(
        _Plane(),  # type: ignore[arg-type]
        torch.full((2, 4), math.nan),
        SizeBudget(),
        SETTINGS,
        on_step=lambda step, mean, waypoint: told.append((mean, waypoint)),
    )
    assert (found.lost, len(found.points)) == (2, 0)
    ((mean, waypoint),) = told
    assert math.isnan(mean)
    assert waypoint is None


@pytest.mark.parametrize("folder", ["tiny_embedding", "tiny_residual_embedding"])
def test_descent_lowers_the_objective_and_respects_the_budget(
    request: pytest.FixtureRequest, folder: str
) -> None:
    embedding: Embedding = load(request.getfixturevalue(folder))
    starts = embedding.encode([exemplar.architecture for exemplar in embedding.exemplars[:8]])
    objective: list[float] = []
    found = descend(
        embedding,
        starts,
        SizeBudget(max_params=2_000),
        DescentSettings(steps=10),
        on_step=lambda step, mean, waypoint: objective.append(mean),
    )
    assert len(objective) == 10
    assert objective[-1] < objective[0]
    with torch.no_grad():
        before = embedding.at(starts).log_params.mean()
        after = embedding.at(found.points).log_params.mean()
    assert after < before
    assert found.lost == 0
