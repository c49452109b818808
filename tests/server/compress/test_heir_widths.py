"""Widths by what is predicted of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archpress_server.compress.heir_widths import best_widths
from archpress_trainer.embedding.artifact import load
from archpress_trainer.embedding.interface import Embedding
from archpress_trainer.space.costs import count
from archpress_trainer.space.reading_form import reading_form
from archpress_trainer.space.width_costs import WidthCosts
from archpress_trainer.space.width_groups import WidthGroups
from archpress_trainer.space.widths import SizeBudget, fit_widths
from tests.trainer.nets import residual_net, small_net


@pytest.fixture(scope="module")
def embedding(tiny_residual_embedding: Path) -> Embedding:
    return load(tiny_residual_embedding)


@settings(max_examples=8)
@given(share=st.floats(0.2, 0.9), residual=st.booleans(), seed=st.integers(0, 99))
def test_they_keep_to_the_limits_and_are_predicted_to_be_no_worse(
    embedding: Embedding, share: float, residual: bool, seed: int
) -> None:
    wide = residual_net(24) if residual else small_net(32)
    budget = SizeBudget(int(share * count(wide).params))
    start = fit_widths(wide, budget, multiple=4, smallest=4, max_scale=1.0)
    assert start is not None
    most, costs_at = WidthGroups(wide).widths, WidthCosts(WidthGroups(start))

    def fits(widths: Sequence[int]) -> bool:
        costs = costs_at(widths)
        return costs is not None and budget.allows(*costs)

    found = [best_widths(start, most, fits, embedding, Random(seed), multiple=4) for _ in range(2)]
    network, prediction = found[0]
    assert found[1] == found[0]
    assert budget.holds(count(network))
    assert all(w <= limit for w, limit in zip(WidthGroups(network).widths, most, strict=True))
    assert all(w % 4 == 0 for w in WidthGroups(network).widths)
    before, after = embedding.predict([reading_form(start), reading_form(network)])
    assert after.lower == pytest.approx(prediction.lower)
    assert after.lower >= before.lower - 1e-6
