"""Convolutions without a batch normalisation, and networks in which they get one."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archpress_trainer.space.batch_norms import bare_convolutions, with_batch_norms
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layers import (
    batch_norm,
    concat,
    conv,
    global_average_pool,
    linear,
    relu,
)
from archpress_trainer.space.vocab import LayerKind
from tests.trainer.nets import (
    random_dag,
    residual_net,
    small_net,
    without_norms,
)

END = (global_average_pool(), linear(4))


@pytest.mark.parametrize("network", [small_net(), residual_net()], ids=["chain", "residual"])
def test_what_an_exporter_folded_comes_back(network: Architecture) -> None:
    folded = without_norms(network)
    convolutions = [la.kind for la in network.layers].count(LayerKind.CONVOLUTION)
    assert bare_convolutions(network) == ()
    assert len(bare_convolutions(folded)) == convolutions
    assert with_batch_norms(folded) == network
    assert with_batch_norms(network) is network


@given(st.integers(0, 2**32))
def test_all_else_stays(seed: int) -> None:
    network = random_dag(Random(seed))
    found = with_batch_norms(network)
    assert bare_convolutions(found) == ()
    added = len(found.layers) - len(network.layers)
    assert added == len(bare_convolutions(network))
    assert without_norms(found) == without_norms(network)
    assert found.shapes[-1] == network.shapes[-1]


def test_a_normalisation_may_come_later() -> None:
    layers = (
        *(conv(4, 3), batch_norm(), relu(), conv(4, 3), concat(2, 3)),
        *(batch_norm(), relu(), conv(4, 3), batch_norm(), *END),
    )
    assert bare_convolutions(Architecture((1, 8, 8), 4, layers)) == ()


def test_one_that_gives_the_class_scores_needs_none() -> None:
    layers = (conv(8, 3), relu(), conv(4, 1), global_average_pool())
    assert bare_convolutions(Architecture((1, 8, 8), 4, layers)) == (0,)


def test_a_network_that_would_be_too_long_stays_as_it_is() -> None:
    network = Architecture((1, 8, 8), 4, (*(conv(2, 1) for _ in range(300)), *END))
    assert with_batch_norms(network) is network
