"""Metrics of predictions, against values counted by hand."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from archpress_trainer.embedding.features import FEATURES
from archpress_trainer.embedding.metrics import (
    METRIC_MEANINGS,
    baseline_predictions,
    kendall_tau,
    quality,
    tau_within_band,
)


def test_tau_counts_pairs() -> None:
    measured = np.array([0.1, 0.2, 0.3, 0.4])
    assert kendall_tau(measured, measured) == 1.0
    assert kendall_tau(-measured, measured) == -1.0
    # One of six pairs is the wrong way round.
    assert kendall_tau(np.array([1.0, 3.0, 2.0, 4.0]), measured) == pytest.approx(4 / 6)
    assert kendall_tau(np.zeros(4), measured) == 0.0


def test_tau_in_a_band_looks_at_near_pairs_only() -> None:
    rng = np.random.default_rng(0)
    predicted, measured = rng.normal(size=40), rng.normal(size=40)
    params = np.exp(rng.uniform(7, 9, 40)).astype(np.float64)
    signs = [
        np.sign(predicted[i] - predicted[j]) * np.sign(measured[i] - measured[j])
        for i, j in combinations(range(40), 2)
        if max(params[i], params[j]) <= 1.1 * min(params[i], params[j])
    ]
    assert len(signs) > 20
    assert tau_within_band(predicted, measured, params) == pytest.approx(np.mean(signs))
    assert (
        tau_within_band(predicted, measured, np.power(10.0, np.arange(40)).astype(np.float64))
        == 0.0
    )


def test_baselines_are_held_out() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, len(FEATURES))).astype(np.float32)
    column = FEATURES.index("log2 params")
    related = features[:, column].astype(np.float64) * 0.1 + 0.5
    found = baseline_predictions(features, related, seed=0)
    assert set(found) == {"log_params", "ridge", "boosted_trees", "boosted_trees_all"}
    assert np.array_equal(found["log_params"], features[:, column].astype(np.float64))
    for predicted in found.values():
        assert kendall_tau(predicted, related) > 0.6
    # On noise, a predictor that had seen the labels would still do well.
    noise = rng.normal(size=60)
    for predicted in baseline_predictions(features, noise, seed=0).values():
        assert abs(kendall_tau(predicted, noise)) < 0.4


def test_quality_has_every_metric_that_is_printed() -> None:
    rng = np.random.default_rng(0)
    accuracy = rng.uniform(size=30)
    names = ("log_params", "ridge", "boosted_trees", "boosted_trees_all")
    baselines = {name: accuracy for name in names}
    params = np.exp(rng.uniform(7, 8, 30))
    found = quality(
        accuracy, accuracy + 0.01, params, baselines, covered=0.9, exact_reconstruction=0.5
    )
    assert set(found) == {name for name, _ in METRIC_MEANINGS}
    assert found["accuracy_kendall_tau"] == found["baseline_kendall_tau"] == 1.0
    assert found["accuracy_kendall_tau_in_band"] == 1.0
    assert found["mean_absolute_error"] == 0.01
    assert (found["interval_coverage"], found["exact_reconstruction"]) == (0.9, 0.5)
    assert found["held_out_networks"] == 30
