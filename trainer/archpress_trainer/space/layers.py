"""Short constructors for layers, so that networks in code read like their description."""

from __future__ import annotations

from archpress_trainer.space.layer import Layer
from archpress_trainer.space.vocab import LayerKind


def conv(
    out_channels: int,
    kernel: int,
    *,
    stride: int = 1,
    padding: int | None = None,
    groups: int = 1,
    inputs: tuple[int, ...] = (),
) -> Layer:
    """Return a convolution; `padding` None keeps the size at stride 1 (half the kernel)."""
    return Layer(
        LayerKind.CONVOLUTION,
        kernel=kernel,
        out_channels=out_channels,
        stride=stride,
        padding=kernel // 2 if padding is None else padding,
        groups=groups,
        inputs=inputs,
    )


def max_pool(kernel: int = 2, *, stride: int = 2, padding: int = 0) -> Layer:
    """Return a max-pooling layer."""
    return Layer(LayerKind.MAX_POOL, kernel=kernel, stride=stride, padding=padding)


def average_pool(kernel: int = 2, *, stride: int = 2, padding: int = 0) -> Layer:
    """Return an average-pooling layer (padding counts as zeros)."""
    return Layer(LayerKind.AVERAGE_POOL, kernel=kernel, stride=stride, padding=padding)


def global_average_pool() -> Layer:
    """Return a layer that averages each channel over the image."""
    return Layer(LayerKind.GLOBAL_AVERAGE_POOL)


def batch_norm(inputs: tuple[int, ...] = ()) -> Layer:
    """Return a batch normalisation."""
    return Layer(LayerKind.BATCH_NORM, inputs=inputs)


def relu() -> Layer:
    """Return a rectifier."""
    return Layer(LayerKind.RELU)


def dropout(rate: float = 0.5) -> Layer:
    """Return a dropout layer."""
    return Layer(LayerKind.DROPOUT, rate=rate)


def linear(out_features: int) -> Layer:
    """Return a fully connected layer; a feature map is flattened first."""
    return Layer(LayerKind.LINEAR, out_channels=out_features)


def add(*inputs: int) -> Layer:
    """Return the sum of earlier layers."""
    return Layer(LayerKind.ADD, inputs=inputs)


def concat(*inputs: int) -> Layer:
    """Return the channel-wise concatenation of earlier layers."""
    return Layer(LayerKind.CONCAT, inputs=inputs)
