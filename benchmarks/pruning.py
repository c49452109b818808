"""Torch-Pruning: channels of a trained network are removed down to a budget.

Only this benchmark needs https://github.com/VainF/Torch-Pruning: `pip install torch-pruning`.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from archpress_trainer.space.build import Network, build, count_params
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.width_groups import WidthGroups

_BISECTIONS = 12
_MOST_OF_A_LAYER = 0.95


def torch_pruning() -> Any:
    """Return the package.

    Raises:
        SystemExit: it is not installed.
    """
    try:
        import torch_pruning
    except ImportError:
        raise SystemExit(
            "the method 'pruning' needs the package torch-pruning: "
            "pip install torch-pruning, or leave it out with --methods"
        ) from None
    return torch_pruning


def pruned(network: Network, max_params: int, *, everywhere: bool) -> Network:
    """Return the largest network within a budget that pruning makes of a trained one.

    Channels with small weights go first (norms of all that a channel touches, DepGraph's group
    magnitude), and no layer loses more than 95% of them.

    Args:
        network: trained.
        max_params: hard limit on parameters.
        everywhere: whether channels of all layers compete; else every layer loses the same share.
    """
    best: Network | None = None
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        ratio = (low + high) / 2
        candidate = _pruned_by(network, ratio, everywhere=everywhere)
        if count_params(candidate) <= max_params:
            best, high = candidate, ratio
        else:
            low = ratio
    if best is None:
        raise ValueError(f"no pruning ratio gives {max_params} parameters or fewer")
    return best


def _pruned_by(network: Network, ratio: float, *, everywhere: bool) -> Network:
    package = torch_pruning()
    work = copy.deepcopy(network)
    package.pruner.BasePruner(
        work,
        torch.zeros(1, *network.architecture.input_shape),
        importance=package.importance.GroupMagnitudeImportance(p=2),
        global_pruning=everywhere,
        pruning_ratio=ratio,
        max_pruning_ratio=_MOST_OF_A_LAYER,
        ignored_layers=[work.layers[-1]],
    ).step()
    result = build(_architecture(work, network.architecture))
    result.load_state_dict(work.state_dict())
    return result


def _architecture(pruned_network: Network, before: Architecture) -> Architecture:
    groups = WidthGroups(before)
    widths = []
    for place, *_ in groups.places:
        weighted = [
            m
            for m in pruned_network.layers[place].modules()
            if isinstance(m, nn.Conv2d | nn.Linear)
        ]
        widths.append(weighted[0].weight.shape[0])
    return groups.with_widths(widths)
