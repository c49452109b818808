"""The paper's 5 x T sequence: round trips, its zeros and repeats, and its refusals."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from archpress_trainer.space.errors import ArchitectureError
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layers import (
    add,
    batch_norm,
    conv,
    global_average_pool,
    linear,
    max_pool,
    relu,
)
from archpress_trainer.space.sampling import Sampler
from archpress_trainer.space.sequence import NotAChainError, from_sequence, to_sequence
from tests.trainer.nets import random_dag, sampled, samplers


@pytest.mark.parametrize(
    "sampler",
    [sampler for sampler in samplers() if not sampler.space.has_joins],
    ids=lambda s: type(s).__name__,
)
def test_round_trip(sampler: Sampler) -> None:
    space = sampler.space
    for sample in sampled(sampler, 40, seed=2):
        columns = to_sequence(sample.architecture)
        assert columns.shape == (5, len(sample.architecture.layers))
        again = from_sequence(
            columns, space.input_shape, space.classes, dropout_rate=space.dropout_rate
        )
        assert again == sample.architecture


def test_columns_of_a_small_network() -> None:
    layers = (conv(4, 3, stride=2), batch_norm(), relu(), max_pool(), linear(2))
    columns = to_sequence(Architecture((1, 8, 8), 2, layers))
    assert columns.T.tolist() == [
        [1, 3, 4, 2, 1],
        [3, 0, 4, 0, 0],
        [4, 0, 4, 0, 0],
        [2, 2, 4, 2, 0],
        [8, 0, 2, 0, 0],
    ]


def test_joins_are_refused() -> None:
    skip = Architecture((3, 8, 8), 2, (conv(3, 3), add(0, -1), global_average_pool(), linear(2)))
    with pytest.raises(NotAChainError, match="joins"):
        to_sequence(skip)
    for seed in range(20):
        dag = random_dag(Random(seed))
        if not dag.is_chain:
            with pytest.raises(NotAChainError):
                to_sequence(dag)


def test_invalid_columns_are_refused() -> None:
    columns = to_sequence(Architecture((1, 8, 8), 2, (conv(4, 3), linear(2))))
    vanishing = columns.copy()
    vanishing[1, 0] = 30
    with pytest.raises(ArchitectureError, match="vanishes"):
        from_sequence(vanishing, (1, 8, 8), 2)
    unknown = columns.copy()
    unknown[0, 0] = 99
    with pytest.raises(ValueError, match="99"):
        from_sequence(unknown, (1, 8, 8), 2)


def test_the_dropout_rate_is_the_callers() -> None:
    columns = np.array([[6, 8], [0, 0], [1, 2], [0, 0], [0, 0]])
    net = from_sequence(columns, (1, 8, 8), 2, dropout_rate=0.25)
    assert net.layers[0].rate == 0.25
