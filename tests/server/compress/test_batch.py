"""Networks that are trained together are chosen for the best of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from archpress_server.compress.batch import Draw, best_together
from archpress_server.compress.decode import Scored
from archpress_trainer.embedding.artifact import load
from archpress_trainer.embedding.interface import Draws, Embedding
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from tests.trainer.nets import chains

NETS = chains(30, seed=1)


@pytest.fixture(scope="module")
def embedding(tiny_embedding: Path) -> Embedding:
    return load(tiny_embedding)


def scored(embedding: Embedding, nets: Sequence[Architecture]) -> list[Scored]:
    found = [
        Scored(net, count(net), prediction)
        for net, prediction in zip(nets, embedding.predict(nets), strict=True)
    ]
    return sorted(found, key=lambda one: -one.prediction.lower)


def told(accuracy: torch.Tensor, noise: float = 0.0) -> Draw:
    """Return what draws these accuracies `(draws, nets)`, with noise on the labels."""
    generator = torch.Generator().manual_seed(1)
    label = accuracy + noise * torch.randn(accuracy.shape, generator=generator)

    def draw(nets: Sequence[Architecture], count: int, generator: torch.Generator) -> Draws:
        assert len(nets) == accuracy.shape[1]
        return Draws(accuracy, label)

    return draw


def made_up(embedding: Embedding) -> tuple[list[Scored], torch.Tensor]:
    """Return four nets: the top, its copy, one that differs, and one that is always worse."""
    own = 0.05 * torch.randn(1_000, 2, generator=torch.Generator().manual_seed(0))
    columns = (0.9 + own[:, 0], 0.9 + own[:, 0], 0.88 + own[:, 1], 0.7 + own[:, 1])
    return scored(embedding, NETS[:4]), torch.stack(columns, dim=1)


def test_a_copy_of_the_top_is_passed_over(embedding: Embedding) -> None:
    ranked, accuracy = made_up(embedding)
    chosen = best_together(ranked, 2, told(accuracy), 0)
    assert chosen == [ranked[0], ranked[2]]


def test_noise_that_hides_the_better_one_makes_it_worth_less(embedding: Embedding) -> None:
    ranked, accuracy = made_up(embedding)
    # One that is a little worse and never known: it can only be taken by mistake.
    accuracy[:, 2] = accuracy[:, 0] - 0.01
    assert best_together(ranked, 2, told(accuracy, 0.5), 0) == [ranked[0], ranked[1]]


@given(number=st.integers(1, 40), seed=st.integers(0, 2**70))
def test_as_many_as_asked_for_in_order(embedding: Embedding, number: int, seed: int) -> None:
    ranked = scored(embedding, NETS)
    chosen = best_together(ranked, number, embedding.draw, seed)
    assert len(chosen) == min(number, len(ranked))
    assert chosen[0] == ranked[0]
    places = [ranked.index(one) for one in chosen]
    assert places == sorted(set(places))
    assert best_together(ranked, number, embedding.draw, seed) == chosen
