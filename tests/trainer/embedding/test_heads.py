"""Accuracy heads: better than a constant, with intervals that hold what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from archpress_trainer.embedding.heads import (
    AccuracyHeads,
    HeadSettings,
    HeldOut,
    accuracy_logit,
    fit_heads,
)

SETTINGS = HeadSettings(iterations=60, folds=4)


def made_up(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs and accuracies that depend on two of them, with noise."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 10, generator=generator)
    noise = torch.randn(count, generator=generator) * 0.3
    logits = 1.0 + inputs[:, 0] - 0.5 * inputs[:, 1].abs() + noise
    return inputs, logits.sigmoid()


@pytest.fixture(scope="module")
def fitted() -> tuple[AccuracyHeads, HeldOut]:
    inputs, accuracy = made_up(300, seed=0)
    return fit_heads(inputs, accuracy, SETTINGS, torch.Generator().manual_seed(0))


def test_they_beat_a_constant_on_new_nets(fitted: tuple[AccuracyHeads, HeldOut]) -> None:
    inputs, accuracy = made_up(500, seed=1)
    with torch.no_grad():
        mean, _ = fitted[0](inputs)
    error = (mean.sigmoid() - accuracy).abs().mean()
    constant = (accuracy.median() - accuracy).abs().mean()
    assert error < 0.6 * constant


def test_held_out_predictions_are_honest(fitted: tuple[AccuracyHeads, HeldOut]) -> None:
    heads, held_out = fitted
    inputs, accuracy = made_up(300, seed=0)
    assert np.allclose(held_out.accuracy, accuracy.numpy())
    with torch.no_grad():
        seen = heads(inputs)[0].sigmoid().numpy()
    unseen_error = np.abs(held_out.predicted - held_out.accuracy).mean()
    seen_error = np.abs(seen - held_out.accuracy).mean()
    constant = np.abs(np.median(held_out.accuracy) - held_out.accuracy).mean()
    assert seen_error < unseen_error < 0.7 * constant


def test_intervals_hold_about_nine_tenths(fitted: tuple[AccuracyHeads, HeldOut]) -> None:
    heads, held_out = fitted
    inputs, accuracy = made_up(2_000, seed=2)
    with torch.no_grad():
        mean, half = heads(inputs)
    inside = (accuracy_logit(accuracy) - mean).abs() <= half
    assert 0.84 <= float(inside.float().mean()) <= 0.96
    assert 0.84 <= held_out.covered <= 0.96


def test_intervals_are_wider_far_from_the_data(fitted: tuple[AccuracyHeads, HeldOut]) -> None:
    inputs, _ = made_up(200, seed=3)
    with torch.no_grad():
        near, far = fitted[0](inputs)[1], fitted[0](3 * inputs)[1]
    assert far.mean() > near.mean()


def test_the_seed_decides() -> None:
    inputs, accuracy = made_up(60, seed=4)
    settings = HeadSettings(iterations=5, fit_nets=40, folds=2)
    states = [
        fit_heads(inputs, accuracy, settings, torch.Generator().manual_seed(seed))[0].state_dict()
        for seed in (0, 0, 1)
    ]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["log_scales"], states[2]["log_scales"])


def test_a_state_gives_the_same_heads(fitted: tuple[AccuracyHeads, HeldOut]) -> None:
    heads, _ = fitted
    again = AccuracyHeads(len(heads.scores), 10, SETTINGS)
    again.load_state_dict(heads.state_dict())
    inputs, _ = made_up(20, seed=5)
    for ours, theirs in zip(again.condition()(inputs), heads(inputs), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_inputs_have_gradients(fitted: tuple[AccuracyHeads, HeldOut]) -> None:
    inputs = made_up(20, seed=6)[0].requires_grad_()
    mean, half = fitted[0](inputs)
    (gradient,) = torch.autograd.grad((mean - half).sum(), inputs)
    assert gradient.isfinite().all()
    step = 1e-3
    with torch.no_grad():
        moved = inputs + step * gradient / gradient.norm(dim=1, keepdim=True)
        rise = torch.sub(*fitted[0](moved)) - (mean - half)
    assert (rise > 0).float().mean() > 0.8


def test_nets_that_learn_nothing_do_not_rule(fitted: tuple[AccuracyHeads, HeldOut]) -> None:
    inputs, accuracy = made_up(300, seed=0)
    broken = accuracy.clone()
    broken[::30] = 0.001
    spoilt = fit_heads(inputs, broken, SETTINGS, torch.Generator().manual_seed(0))[0]
    others, measured = made_up(500, seed=1)
    error, without = (
        (heads(others)[0].sigmoid() - measured).abs().median() for heads in (spoilt, fitted[0])
    )
    assert error < 1.5 * without


def test_the_logit_stays_finite() -> None:
    assert accuracy_logit(torch.tensor([0.0, 0.5, 1.0])).tolist() == pytest.approx(
        [-6.9068, 0.0, 6.9068], abs=1e-3
    )


def test_draws_are_alike_where_nets_are(fitted: tuple[AccuracyHeads, HeldOut]) -> None:
    heads, _ = fitted
    inputs, _ = made_up(3, seed=5)
    inputs = torch.cat([inputs, inputs[:1] + 1e-3])
    with torch.no_grad():
        accuracy, label = heads.draw(inputs, 4_000, torch.Generator().manual_seed(0))
        mean, _ = heads(inputs)
    assert accuracy.shape == label.shape == (4_000, 4)
    assert torch.allclose(accuracy.median(dim=0).values, mean, atol=0.1)
    correlation = torch.corrcoef(accuracy.T)
    assert correlation[0, 3] > 0.99
    assert correlation[0, 1:3].abs().max() < 0.9
    # A label's noise is each net's own.
    noise = torch.corrcoef((label - accuracy).T)
    assert (label.std(dim=0) > accuracy.std(dim=0)).all()
    assert abs(noise[0, 3]) < 0.1
