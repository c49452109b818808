"""What a delivered network does, layer by layer, and how long that takes at any widths."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archpress_server.compress.latency_table import LatencyTable, LayerLatency
from archpress_server.compress.layer_work import (
    WidthLatency,
    network_seconds,
    whole_nanoseconds,
    works,
)
from archpress_trainer.space.architecture_space import (
    RESIDUAL_KINDS,
    ArchitectureSpace,
    residual_space,
)
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layers import (
    batch_norm,
    conv,
    dropout,
    global_average_pool,
    linear,
    max_pool,
    relu,
)
from archpress_trainer.space.practical_sampler import Window
from archpress_trainer.space.prior import prior
from archpress_trainer.space.sampling import draw
from archpress_trainer.space.vocab import LayerKind
from archpress_trainer.space.width_groups import WidthGroups

NET = Architecture(
    (1, 12, 12),
    4,
    (
        *(conv(8, 3), batch_norm(), relu(), dropout()),
        *(max_pool(), batch_norm(), conv(16, 1), relu()),
        *(global_average_pool(), linear(4)),
    ),
)
CHAINS = ArchitectureSpace((1, 28, 28), 10)
RESIDUAL = residual_space((1, 28, 28), 10)
TABLE = LatencyTable(
    tuple(
        LayerLatency(kind, None, 1e-6 * kind, 1e-11 * kind, 1e-9 * kind)
        for kind in RESIDUAL_KINDS
        if kind is not LayerKind.DROPOUT
    ),
    fixed_seconds=5e-6,
)


def test_dropout_and_folded_norms_take_no_time() -> None:
    kinds = [work.kind for work in works(NET)]
    # The norm behind the pool has nothing to fold into.
    assert kinds.count(LayerKind.BATCH_NORM) == 1
    assert LayerKind.DROPOUT not in kinds
    assert len(kinds) == len(NET.layers) - 2
    assert sum(work.macs for work in works(NET)) == count(NET).macs


@pytest.mark.parametrize("activations", range(12))
def test_seconds_are_those_of_the_decimals_of_a_table(activations: int) -> None:
    layers = (conv(8, 3), *[relu()] * activations, global_average_pool(), linear(4))
    table = LatencyTable(tuple(LayerLatency(kind, None, 1e-4) for kind in RESIDUAL_KINDS), 1e-4)
    seconds = network_seconds(table, Architecture((1, 12, 12), 4, layers))
    assert seconds == (activations + 4) / 10_000
    assert whole_nanoseconds(seconds) == seconds


@given(st.integers(1, 10**12), st.floats(0.01, 0.99))
def test_whole_nanoseconds_are_the_next(nanoseconds: int, part: float) -> None:
    assert whole_nanoseconds(nanoseconds / 1e9) == nanoseconds / 1e9
    assert whole_nanoseconds((nanoseconds - part) / 1e9) == nanoseconds / 1e9


@pytest.mark.parametrize("space", [CHAINS, RESIDUAL], ids=["chains", "joins"])
@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(2, 64))
def test_at_other_widths_seconds_are_those_of_the_network(
    space: ArchitectureSpace, seed: int, width: int
) -> None:
    network = next(draw(prior(space, Window(2_000, 500_000)), Random(seed))).architecture
    groups = WidthGroups(network)
    widths = [width + place % 3 for place in range(len(groups.places))]
    other = groups.with_widths(widths)
    assert WidthLatency(groups, TABLE)(widths) == network_seconds(TABLE, other)


def test_depthwise_convolutions_are_told_apart() -> None:
    layers = (conv(8, 3), conv(8, 3, groups=8), conv(8, 3), global_average_pool(), linear(4))
    found = works(Architecture((1, 12, 12), 4, layers))
    assert [work.is_depthwise for work in found] == [False, True, False, False, False]
