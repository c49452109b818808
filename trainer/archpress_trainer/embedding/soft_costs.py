"""Costs under the decoder's probabilities: differentiable, and exact where it is certain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from archpress_trainer.embedding.codec import Codec
from archpress_trainer.embedding.soft_flow import Windows, chain_flow, graph_flow, read_later
from archpress_trainer.space.architecture_space import DEPTHWISE
from archpress_trainer.space.vocab import WINDOWED, LayerKind

_COUNTED = (
    LayerKind.CONVOLUTION,
    LayerKind.LINEAR,
    LayerKind.BATCH_NORM,
    LayerKind.GLOBAL_AVERAGE_POOL,
)


@dataclass(frozen=True)
class SoftCosts:
    """Expected costs of a batch, each of shape `(batch,)`."""

    params: torch.Tensor
    macs: torch.Tensor


def soft_costs(codec: Codec, logits: Sequence[torch.Tensor]) -> SoftCosts:
    """Return the costs of the networks that field logits describe.

    Widths and sides are propagated as expectations over the kinds of each layer and the layers
    that it may read, attributes as expectations within the kind; so the result equals the exact
    costs when every class is certain, and has a gradient with respect to every probability.

    Args:
        codec: names the classes.
        logits: per field `(batch, classes, length)`, as the autoencoder writes them.
    """
    kind, kernel, channels, stride, padding, *graph = (
        values.float().softmax(dim=1) for values in logits
    )
    tables = _Tables(codec, logits[0].device)
    conv, linear, norm, pooled = (kind[:, tables.index[name]] for name in _COUNTED)
    to_one = pooled + linear
    hidden_width = _expectation(channels[:, 1:], tables.channels)
    final = channels[:, 0]
    linear_width = final * codec.space.classes + (1 - final) * hidden_width
    in_channels, height, width = codec.space.input_shape
    first = torch.tensor([height, width], dtype=torch.float32, device=kind.device)
    windows = Windows(
        _expectation(kernel[:, 1:], tables.kernels),
        _expectation(stride[:, 1:], tables.strides),
        _expectation(padding[:, 1:], tables.paddings),
        kind[:, tables.windowed].sum(dim=1),
        to_one,
    )
    has_bias = 1 - functional.pad(norm[:, 1:], (0, 1))
    if graph:
        groups, source = graph
        depthwise = conv * groups[:, 1 + codec.space.groups.index(DEPTHWISE)]
        concat = kind[:, tables.index[LayerKind.CONCAT]]
        flow = graph_flow(
            own=(conv - depthwise) * hidden_width + linear * linear_width,
            keeps=1 - conv - linear,
            keeps_read=depthwise,
            adds_read=concat,
            windows=windows,
            source=source,
            first_width=in_channels,
            first_sides=first,
        )
        has_bias = 1 - (1 - has_bias) * (1 - read_later(source))
        pairs = (conv - depthwise) * flow.read * hidden_width + depthwise * flow.read
        outputs = (conv - depthwise) * hidden_width + depthwise * flow.read
    else:
        flow = chain_flow(
            own=conv * hidden_width + linear * linear_width,
            keeps=1 - conv - linear,
            windows=windows,
            first_width=in_channels,
            first_sides=first,
        )
        pairs, outputs = conv * flow.before * hidden_width, conv * hidden_width
    flat = flow.before * flow.sides.prod(dim=1)
    weights = pairs * _expectation(kernel[:, 1:], tables.kernels.square())
    alive = (1 - kind[:, 0]).cumprod(dim=1)
    params = alive * (
        weights
        + has_bias * outputs
        + linear * (flat + has_bias) * linear_width
        + norm * 2 * flow.before
    )
    macs = alive * (weights * flow.windowed.prod(dim=1) + linear * flat * linear_width)
    return SoftCosts(params.sum(dim=1), macs.sum(dim=1))


class _Tables:
    def __init__(self, codec: Codec, device: torch.device) -> None:
        kinds, kernels, channels, strides, paddings = codec.values[:5]
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
