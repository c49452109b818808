"""The network that the tests send."""

from __future__ import annotations

from archpress_client import Layer, Network

NETWORK = Network(
    input_shape=(1, 12, 12),
    classes=4,
    layers=[
        Layer.conv(32, 3),
        Layer.batch_norm(),
        Layer.relu(),
        Layer.max_pool(2),
        Layer.conv(32, 3),
        Layer.batch_norm(),
        Layer.relu(),
        Layer.global_average_pool(),
        Layer.linear(4),
    ],
)
