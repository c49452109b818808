"""Networks unlike the labelled ones are told how far they are, and have a start that is near."""

from __future__ import annotations

from pathlib import Path

import pytest

from archpress_server.compress.outlying import nearest, outlying
from archpress_server.compress.planning import plan
from archpress_server.compress.types import Budget, Request
from archpress_trainer.embedding.artifact import load
from archpress_trainer.embedding.interface import Embedding
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layers import add, conv, global_average_pool, linear, relu


@pytest.fixture(scope="module")
def embedding(tiny_embedding: Path) -> Embedding:
    return load(tiny_embedding)


def chain(width: int, depth: int = 3) -> Architecture:
    layers = [layer for _ in range(depth) for layer in (conv(width, 3), relu())]
    return Architecture((1, 12, 12), 4, (*layers, global_average_pool(), linear(4)))


RESIDUAL = Architecture(
    (1, 12, 12),
    4,
    (conv(256, 3), relu(), conv(256, 3), add(1, 2), relu(), global_average_pool(), linear(4)),
)


def test_a_labelled_network_lies_inside(embedding: Embedding) -> None:
    for exemplar in embedding.exemplars:
        assert outlying(exemplar.architecture, exemplar.costs, embedding) is None


def test_a_large_network_is_told_by_how_much(embedding: Embedding) -> None:
    large = chain(1024)
    text = outlying(large, count(large), embedding)
    assert text is not None
    most = max(exemplar.costs.params for exemplar in embedding.exemplars)
    assert f"{count(large).params / most:.1f} times the parameters of the largest" in text
    assert "is an extrapolation that no label backs" in text


def test_nothing_is_predicted_for_what_cannot_be_encoded(embedding: Embedding) -> None:
    text = outlying(RESIDUAL, count(RESIDUAL), embedding)
    assert text is not None
    assert text.endswith("nothing is predicted for itself")


def test_the_nearest_of_the_labelled_is_itself(embedding: Embedding) -> None:
    for exemplar in embedding.exemplars[:8]:
        found = nearest(exemplar.architecture, embedding.exemplars)
        assert count(found).params == exemplar.costs.params


def test_a_plan_for_a_residual_network_says_where_it_stands(embedding: Embedding) -> None:
    request = Request(RESIDUAL, "tiny", Budget(max_params=3_000))
    found = plan(request, embedding, 4)
    assert all(candidate.costs.params <= 3_000 for candidate in found.candidates)
    assert found.candidates
    assert any("nothing is predicted for itself" in text for text in found.warnings)
    assert any("is not a chain" in text for text in found.warnings)
