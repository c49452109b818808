"""Axes and numbers in words."""

from __future__ import annotations

import numpy as np
import pytest

from archpress_trainer.report.scales import AccuracyScale, logit, percent, plural, short_count


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0"), (950, "950"), (999.7, "1k"), (12_345, "12.3k"), (1_500_000, "1.5M"), (3e9, "3G")],
)
def test_short_counts(value: float, words: str) -> None:
    assert short_count(value) == words


def test_short_counts_to_two_digits() -> None:
    assert short_count(112_345, 2) == "110k"


@pytest.mark.parametrize(
    ("share", "words"), [(0.5, "50%"), (1.0, "100%"), (0.9067, "90.7%"), (0.1, "10%"), (0, "0%")]
)
def test_percentages(share: float, words: str) -> None:
    assert percent(share) == words


def test_plurals() -> None:
    assert plural(1, "net") == "1 net"
    assert plural(1_200, "net") == "1,200 nets"


def test_a_few_failures_do_not_press_the_others_together() -> None:
    accuracy = np.concatenate([np.linspace(0.8, 0.9, 200), [0.05, 0.1]])
    scale = AccuracyScale.around(accuracy)
    assert scale.below(accuracy) == 2
    places = scale.place(accuracy)
    assert places.min() == scale.low
    assert np.ptp(places[:200]) > 0.5 * (scale.high - scale.low)


@pytest.mark.parametrize("ends", [(0.1, 0.9), (0.8, 0.82), (0.5, 0.5), (0.0, 1.0), (0.99, 0.999)])
def test_ticks_are_few_and_inside(ends: tuple[float, float]) -> None:
    scale = AccuracyScale.around(np.linspace(*ends, 50))
    ticks = logit(np.array(scale.ticks()))
    assert len(ticks) <= 7
    assert all(scale.low < tick < scale.high for tick in ticks.tolist())
    gaps = np.abs(np.diff(ticks))
    assert (gaps >= (scale.high - scale.low) / 7).all()
