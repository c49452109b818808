"""Structured pruning: a narrower network that starts with a trained one's strongest channels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from archpress_trainer.space.build import Network, build
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.shapes import Shape
from archpress_trainer.space.vocab import WEIGHTED
from archpress_trainer.space.width_groups import WidthGroups


def can_narrow(architecture: Architecture) -> bool:
    """Return whether `narrowed` takes such networks: grouped convolutions are depthwise ones."""
    return all(
        layer.groups == 1 or architecture.is_depthwise(index)
        for index, layer in enumerate(architecture.layers)
    )


def narrowed(network: Network, architecture: Architecture) -> Network:
    """Return a network of an architecture, on the CPU, with the weights of a wider trained one.

    Of each width group the channels with the largest norms stay, in their order. Statistics of
    normalisations come along.

    Args:
        network: trained; `can_narrow` holds for its architecture.
        architecture: that of the network with fewer channels in its free `WidthGroups`.

    Raises:
        ValueError: the architecture differs in more, or is wider.
    """
    groups = WidthGroups(network.architecture)
    if len(architecture.layers) != len(network.layers):
        raise ValueError(f"there are {len(architecture.layers)} layers, not {len(network.layers)}")
    widths = [architecture.layers[place].out_channels for place, *_ in groups.places]
    if groups.with_widths(widths) != architecture:
        raise ValueError("the architecture differs from the network's in more than widths")
    kept = [torch.arange(channels) for channels in groups.channels(groups.widths)]
    for slot, (norms, width) in enumerate(zip(channel_norms(network), widths, strict=True), 1):
        if width > len(norms):
            place = groups.places[slot - 1][0]
            raise ValueError(f"layer {place} has {len(norms)} channels, fewer than {width}")
        kept[slot] = norms.topk(width).indices.sort().values
    for slot in range(len(kept)):
        kept[slot] = _joined(groups, slot, kept)
    result = build(architecture)
    for index, (before, after) in enumerate(zip(network.layers, result.layers, strict=True)):
        layer = network.architecture.layers[index]
        own = kept[groups.slots[index + 1]]
        read = None
        if layer.kind in WEIGHTED and not network.architecture.is_depthwise(index):
            shape = network.architecture.in_shape(index)
            read = _features(kept[groups.slots[layer.inputs[0] + 1]], shape, before)
        state = {name: _cut(value, own, read) for name, value in before.state_dict().items()}
        after.load_state_dict(state)
    return result.eval()


def channel_norms(network: Network) -> list[torch.Tensor]:
    """Return, for each free width group, the squared norms of all weights that a channel touches.

    Those are the filters that make it, the scales of its normalisations and the weights of whoever
    reads it (DepGraph, Fang et al. 2023, section 3.3, with p = 2).
    """
    groups = WidthGroups(network.architecture)
    sizes = groups.channels(groups.widths)
    totals = [torch.zeros(size) for size in sizes]

    def add(slot: int, norms: torch.Tensor) -> None:
        parts = groups.parts(slot)
        for part, values in zip(parts, norms.split([sizes[p] for p in parts]), strict=True):
            totals[part] += values

    for index, module in enumerate(network.layers):
        layer = network.architecture.layers[index]
        weight = module.state_dict().get(_weight_name(module))
        if weight is None:
            continue
        squares = weight.detach().cpu().float().square()
        add(groups.slots[index + 1], squares.flatten(1).sum(1) if squares.dim() > 1 else squares)
        if layer.kind in WEIGHTED and not network.architecture.is_depthwise(index):
            channels = network.architecture.in_shape(index)[0]
            read = squares.reshape(len(squares), channels, -1).sum(dim=(0, 2))
            add(groups.slots[layer.inputs[0] + 1], read)
    return totals[1 : 1 + len(groups.places)]


def _weight_name(module: nn.Module) -> str:
    return "1.weight" if isinstance(module, nn.Sequential) else "weight"


def _joined(groups: WidthGroups, slot: int, kept: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return what stays of a slot's channels, counted from the first of its parts."""
    sizes = groups.channels(groups.widths)
    found, begin = [], 0
    for part in groups.parts(slot):
        found.append(kept[part] + begin)
        begin += sizes[part]
    return torch.cat(found)


def _features(kept: torch.Tensor, shape: Shape, module: nn.Module) -> torch.Tensor:
    """Return the input features that belong to channels; a linear layer reads them flattened."""
    if len(shape) == 1 or isinstance(module, nn.Conv2d):
        return kept
    pixels = shape[1] * shape[2]
    return (kept[:, None] * pixels + torch.arange(pixels)).flatten()


def _cut(value: torch.Tensor, own: torch.Tensor, read: torch.Tensor | None) -> torch.Tensor:
    value = value.detach().cpu()
    if value.dim() == 0:
        return value
    value = value[own]
    return value[:, read] if read is not None and value.dim() > 1 else value
