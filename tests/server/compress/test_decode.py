"""What decodes become: distinct networks within every limit, and some of each outline."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from archpress_server.compress.decode import LabelledRange, Pool, Scored, diverse
from archpress_trainer.embedding.artifact import load
from archpress_trainer.embedding.interface import Embedding
from archpress_trainer.embedding.prediction import Prediction
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layer import Layer
from archpress_trainer.space.layers import (
    add,
    batch_norm,
    conv,
    global_average_pool,
    linear,
    relu,
)
from archpress_trainer.space.widths import SizeBudget
from tests.trainer.nets import small_net

NET = small_net(32)


@pytest.fixture(scope="module", params=["tiny_embedding", "tiny_residual_embedding"])
def embedding(request: pytest.FixtureRequest) -> Embedding:
    return load(request.getfixturevalue(request.param))


def test_pool_keeps_distinct_nets_within_the_budget(embedding: Embedding) -> None:
    pool = Pool(embedding, SizeBudget(max_params=1_500))
    offered: Sequence[Architecture | None] = [NET, NET, None]
    pool.add(offered)
    assert len(pool) == 1
    (scored,) = pool.best(5)
    assert scored.costs.params <= 1_500
    assert [layer.kind for layer in scored.architecture.layers] == [la.kind for la in NET.layers]


def test_a_net_that_was_fitted_can_still_come_as_it_is(embedding: Embedding) -> None:
    pool = Pool(embedding, SizeBudget(max_params=60_000))
    pool.add([NET])
    (fitted,) = pool.best(5)
    assert fitted.architecture != NET
    for _ in range(2):
        pool.add([NET], as_they_are=True)
        assert {one.architecture for one in pool.best(5)} == {fitted.architecture, NET}


def test_a_budget_is_narrowed_to_the_range_that_labels_back() -> None:
    labelled = LabelledRange(max_macs=5_000, max_activation_bytes=900)
    tight = SizeBudget(max_params=10, max_macs=20)
    assert labelled.narrowed(tight) == tight
    assert labelled.narrowed(SizeBudget(10)) == SizeBudget(10, 5_000)
    assert labelled.narrowed(SizeBudget(10, 5_001)) == SizeBudget(10, 5_000)
    assert labelled.narrowed(SizeBudget()) == SizeBudget()


def scored(*body: Layer) -> Scored:
    layers = (conv(8, 3), *body, global_average_pool(), linear(4))
    architecture = Architecture((1, 12, 12), 4, layers)
    return Scored(architecture, count(architecture), Prediction(0.5, 0.4, 0.6))


NARROW = scored(conv(8, 3), relu(), add(1, 2))
WIDE = scored(conv(16, 3), relu(), add(1, 2))


@pytest.mark.parametrize(
    "other",
    [
        scored(conv(8, 3), batch_norm(), add(1, 2)),
        scored(conv(8, 5), relu(), add(1, 2)),
        scored(conv(8, 3, stride=2), relu(), add(1, 2)),
        scored(conv(8, 3, groups=8), relu(), add(1, 2)),
        scored(conv(8, 3), relu(), add(0, 2)),
    ],
    ids=["kind", "kernel", "stride", "groups", "inputs"],
)
def test_one_of_each_outline_comes_before_a_second_of_one(other: Scored) -> None:
    ranked = [NARROW, WIDE, other]
    assert diverse(ranked, 2) == [NARROW, other]
    assert diverse(ranked, 3) == [NARROW, other, WIDE]


def test_without_other_outlines_the_ranked_are_taken_in_their_order() -> None:
    assert diverse([WIDE, NARROW], 1) == [WIDE]
    assert diverse([WIDE, NARROW], 2) == [WIDE, NARROW]
    assert diverse([WIDE, NARROW], 5) == [WIDE, NARROW]
