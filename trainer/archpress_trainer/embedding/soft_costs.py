"""Costs under the decoder's probabilities: differentiable, and exact where it is certain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from archpress_trainer.embedding.codec import Codec
from archpress_trainer.space.vocab import WINDOWED, LayerKind


@dataclass(frozen=True)
class SoftCosts:
    """Expected costs of a batch, each of shape `(batch,)`."""

    params: torch.Tensor
    macs: torch.Tensor


def soft_costs(codec: Codec, logits: Sequence[torch.Tensor]) -> SoftCosts:
    """Return the costs of the networks that field logits describe.

    Widths and sides are propagated as expectations over the kinds of each layer, attributes as
    expectations within the kind; so the result equals the exact costs when every class is certain,
    and has a gradient with respect to every probability.

    Args:
        codec: names the classes.
        logits: per field `(batch, classes, length)`, as the autoencoder writes them.
    """
    kind, kernel, channels, stride, padding = (values.float().softmax(dim=1) for values in logits)
    tables = _Tables(codec, logits[0].device)
    space = codec.space
    batch, _, length = kind.shape
    expected_kernel = _expectation(kernel[:, 1:], tables.kernels)
    expected_kernel_square = _expectation(kernel[:, 1:], tables.kernels.square())
    expected_stride = _expectation(stride[:, 1:], tables.strides)
    expected_padding = _expectation(padding[:, 1:], tables.paddings)
    hidden_width = _expectation(channels[:, 1:], tables.channels)
    final = channels[:, 0]

    in_channels, height, width = space.input_shape
    one = torch.ones(batch, device=kind.device)
    current = one * in_channels
    sides = [one * height, one * width]
    params, macs = one * 0, one * 0
    alive = one
    for t in range(length):
        p = kind[:, :, t]
        alive = alive * (1 - p[:, 0])
        p_conv = p[:, tables.index[LayerKind.CONVOLUTION]]
        p_linear = p[:, tables.index[LayerKind.LINEAR]]
        p_norm = p[:, tables.index[LayerKind.BATCH_NORM]]
        p_global = p[:, tables.index[LayerKind.GLOBAL_AVERAGE_POOL]]
        p_window = p[:, tables.windowed].sum(dim=1)
        next_sides = [
            _window(side, expected_kernel[:, t], expected_stride[:, t], expected_padding[:, t])
            for side in sides
        ]
        conv_width = hidden_width[:, t]
        linear_width = final[:, t] * space.classes + (1 - final[:, t]) * hidden_width[:, t]
        has_bias = 1 - (kind[:, tables.index[LayerKind.BATCH_NORM], t + 1] if t + 1 < length else 0)
        kernel_weights = current * conv_width * expected_kernel_square[:, t]
        area = next_sides[0] * next_sides[1]
        flat = current * sides[0] * sides[1]
        params = params + alive * (
            p_conv * (kernel_weights + has_bias * conv_width)
            + p_linear * (flat * linear_width + has_bias * linear_width)
            + p_norm * 2 * current
        )
        macs = macs + alive * (p_conv * kernel_weights * area + p_linear * flat * linear_width)
        keeps = 1 - p_conv - p_linear
        current = p_conv * conv_width + p_linear * linear_width + keeps * current
        to_vector = p_global + p_linear
        sides = [
            p_window * following + to_vector + (1 - p_window - to_vector) * side
            for side, following in zip(sides, next_sides, strict=True)
        ]
    return SoftCosts(params, macs)


class _Tables:
    def __init__(self, codec: Codec, device: torch.device) -> None:
        kinds, kernels, channels, strides, paddings = codec.values
        self.index = {LayerKind(value): i for i, value in enumerate(kinds) if value}
        self.windowed = [self.index[kind] for kind in WINDOWED if kind in self.index]
        self.kernels = torch.tensor(kernels[1:], dtype=torch.float32, device=device)
        self.channels = torch.tensor(channels[1:], dtype=torch.float32, device=device)
        self.strides = torch.tensor(strides[1:], dtype=torch.float32, device=device)
        self.paddings = torch.tensor(paddings[1:], dtype=torch.float32, device=device)


def _expectation(probabilities: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return the mean of `values` given that the attribute exists, `(batch, length)`."""
    weight = probabilities.sum(dim=1).clamp_min(1e-6)
    return torch.einsum("bvt,v->bt", probabilities, values) / weight


def _window(
    side: torch.Tensor, kernel: torch.Tensor, stride: torch.Tensor, padding: torch.Tensor
) -> torch.Tensor:
    exact = (side + 2 * padding - kernel) / stride.clamp_min(1.0) + 1
    # Sides are whole numbers; the step down passes the gradient through.
    floored = exact + (exact.detach() + 1e-3).floor() - exact.detach()
    return floored.clamp_min(1.0)
