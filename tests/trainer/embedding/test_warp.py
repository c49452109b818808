"""The way from normal scores to accuracies and what it keeps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, rankdata

from archpress_trainer.embedding.warp import Warp, normal_scores

accuracies = st.lists(st.floats(0.05, 0.99), min_size=5, max_size=60)


def fitted(values: list[float]) -> tuple[Warp, torch.Tensor, torch.Tensor]:
    logits = torch.logit(torch.tensor(values))
    scores = normal_scores(logits)
    warp = Warp(17)
    warp.fit(logits)
    return warp, scores, logits


def test_scores_are_ranks_on_a_normal_scale() -> None:
    scores = normal_scores(torch.tensor([0.9, 0.1, 0.5, 0.5]))
    assert scores[1] < scores[2] == scores[3] < scores[0]
    assert float(scores.sum()) == pytest.approx(0, abs=1e-2)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60))
def test_equal_values_share_the_mean_of_their_ranks(values: list[int]) -> None:
    shares = (rankdata(values) - 0.5) / len(values)
    scores = normal_scores(torch.tensor(values) / 10)
    np.testing.assert_allclose(scores.numpy(), norm.ppf(shares), rtol=1e-5, atol=1e-7)


@given(accuracies, st.lists(st.floats(-6, 6), min_size=2, max_size=8))
def test_it_rises_strictly(values: list[float], scores: list[float]) -> None:
    warp, _, _ = fitted(values)
    points = torch.tensor(sorted(scores))
    rises = warp(points).diff()
    assert (rises >= 0).all()
    assert (rises[points.diff() > 1e-2] > 0).all()


def test_it_leads_a_population_to_its_accuracies() -> None:
    drawn = torch.rand(400, generator=torch.Generator().manual_seed(0))
    warp, scores, logits = fitted((0.3 + 0.6 * drawn).tolist())
    middle = scores.abs() < 1.8
    assert torch.allclose(warp(scores)[middle], logits[middle], atol=0.08)


def test_beyond_the_population_it_goes_straight_on() -> None:
    warp, _, _ = fitted([0.5 + 0.004 * i for i in range(100)])
    outside = warp(torch.tensor([2.5, 3.0, 3.5]))
    assert float(outside[1] - outside[0]) == pytest.approx(float(outside[2] - outside[1]), rel=1e-4)


def test_equal_accuracies() -> None:
    warp, scores, logits = fitted([0.7] * 10)
    assert torch.allclose(warp(scores), logits, atol=1e-4)
