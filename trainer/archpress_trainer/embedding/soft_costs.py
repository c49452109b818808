"""Costs under the decoder's probabilities: differentiable, and exact where it is certain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

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
    of_kind = {name: kind[:, index] for name, index in tables.index.items()}
    conv, linear = of_kind[LayerKind.CONVOLUTION], of_kind[LayerKind.LINEAR]
    norm, to_one = of_kind[LayerKind.BATCH_NORM], of_kind[LayerKind.GLOBAL_AVERAGE_POOL] + linear
    hidden_width = _expectation(channels[:, 1:], tables.channels)
    final = channels[:, 0]
    linear_width = final * codec.space.classes + (1 - final) * hidden_width
    in_channels, height, width = codec.space.input_shape

    own_width = conv * hidden_width + linear * linear_width
    currents = _widths(own_width, 1 - conv - linear, in_channels)
    sides = _sides(
        torch.tensor([height, width], dtype=torch.float32, device=kind.device),
        _expectation(kernel[:, 1:], tables.kernels),
        _expectation(stride[:, 1:], tables.strides),
        _expectation(padding[:, 1:], tables.paddings),
        kind[:, tables.windowed].sum(dim=1),
        to_one,
    )
    flat = currents * sides.before.prod(dim=1)
    has_bias = 1 - functional.pad(norm[:, 1:], (0, 1))
    squares = _expectation(kernel[:, 1:], tables.kernels.square())
    kernel_weights = currents * hidden_width * squares
    alive = (1 - kind[:, 0]).cumprod(dim=1)
    params = alive * (
        conv * (kernel_weights + has_bias * hidden_width)
        + linear * (flat + has_bias) * linear_width
        + norm * 2 * currents
    )
    macs = alive * (
        conv * kernel_weights * sides.windowed.prod(dim=1) + linear * flat * linear_width
    )
    return SoftCosts(params.sum(dim=1), macs.sum(dim=1))


def _widths(own: torch.Tensor, keeps: torch.Tensor, first: int) -> torch.Tensor:
    """Return the channels that flow into each layer, `(batch, length)`."""
    current = torch.full_like(own[:, 0], first)
    found = []
    for chosen, kept in zip(own.unbind(1), keeps.unbind(1), strict=True):
        found.append(current)
        current = torch.addcmul(chosen, kept, current)
    return torch.stack(found, dim=1)


@dataclass(frozen=True)
class _Sides:
    """Height and width before each layer, and behind it if it is windowed: `(batch, 2, length)`."""

    before: torch.Tensor
    windowed: torch.Tensor


def _sides(
    first: torch.Tensor,
    kernel: torch.Tensor,
    stride: torch.Tensor,
    padding: torch.Tensor,
    is_windowed: torch.Tensor,
    to_one: torch.Tensor,
) -> _Sides:
    inverse = 1 / stride.clamp_min(1.0)
    shift = (2 * padding - kernel) * inverse + 1
    keeps = 1 - is_windowed - to_one
    side = first.expand(len(kernel), 2)
    before, windowed = [], []
    columns = torch.stack([inverse, shift, is_windowed, keeps, to_one], dim=2)[:, None]
    for column in columns.unbind(2):
        scale, offset, window, kept, one = column.unbind(2)
        before.append(side)
        following = _floored(torch.addcmul(offset, scale, side)).clamp_min(1.0)
        windowed.append(following)
        side = torch.addcmul(torch.addcmul(one, kept, side), window, following)
    return _Sides(torch.stack(before, dim=2), torch.stack(windowed, dim=2))


class _Floor(torch.autograd.Function):
    """Rounds down; sides are whole numbers, and the gradient passes through."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, exact: torch.Tensor) -> torch.Tensor:
        return (exact + 1e-3).floor()

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, *gradients: torch.Tensor
    ) -> torch.Tensor:
        return gradients[0]


def _floored(exact: torch.Tensor) -> torch.Tensor:
    result: torch.Tensor = _Floor.apply(exact)
    return result


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
