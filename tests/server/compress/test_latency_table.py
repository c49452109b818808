"""A table's rows and what it does not know."""

from __future__ import annotations

import pytest

from archpress_server.compress.latency_table import LatencyTable, LayerLatency
from archpress_server.compress.layer_work import network_seconds
from archpress_trainer.space.architecture_space import RESIDUAL_KINDS
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layers import conv, global_average_pool, linear, relu
from archpress_trainer.space.vocab import LayerKind

NET = Architecture(
    (1, 12, 12),
    4,
    (conv(8, 3), relu(), conv(16, 1), relu(), global_average_pool(), linear(4)),
)


def test_a_networks_seconds_are_the_sum_of_the_rows() -> None:
    rows = (
        LayerLatency(LayerKind.CONVOLUTION, None, 1.0, 0.01, 0.001),
        LayerLatency(LayerKind.CONVOLUTION, 1, 2.0),
        *(LayerLatency(kind) for kind in RESIDUAL_KINDS if kind is not LayerKind.CONVOLUTION),
    )
    outputs = 8 * 12 * 12
    expected = 0.5 + (1 + 0.01 * 9 * outputs + 0.001 * outputs) + 2
    assert network_seconds(LatencyTable(rows, 0.5), NET) == pytest.approx(expected)


def test_a_layer_without_a_row_is_an_error() -> None:
    with pytest.raises(KeyError, match="CONVOLUTION of kernel 3"):
        network_seconds(LatencyTable((LayerLatency(LayerKind.CONVOLUTION, 1),)), NET)
