"""Hand features of what chains do not have: joins, depthwise convolutions and paths."""

from __future__ import annotations

from math import log2

from archpress_trainer.space.costs import Costs, layer_macs
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.vocab import ACTIVATIONS, JOINS, WEIGHTED, LayerKind

JOIN_FEATURES = (
    "sums",
    "concatenations",
    "projections",
    "depthwise convolutions",
    "share of depthwise convolutions",
    "share of macs in depthwise convolutions",
    "weighted layers on the shortest path",
    "weighted layers on the longest path",
    "log2 paths",
    "share of weighted layers off the shortest path",
    "mean reach of joins",
    "convolutions before the first join",
    "norms in front of an activation in front of a convolution",
    "linear convolutions in front of a sum",
    "mean log2 growth of width",
    "largest log2 growth of width",
    "relu6s",
    "hard swishes",
)


def join_features(architecture: Architecture, costs: Costs) -> tuple[float, ...]:
    """Return the `JOIN_FEATURES` of an architecture."""
    layers = architecture.layers
    kinds = [layer.kind for layer in layers]
    convolutions = [i for i, kind in enumerate(kinds) if kind is LayerKind.CONVOLUTION]
    joins = [i for i, kind in enumerate(kinds) if kind in JOINS]
    depthwise = [i for i in convolutions if architecture.is_depthwise(i)]
    depthwise_macs = sum(
        layer_macs(layers[i], architecture.in_shape(i), architecture.shapes[i]) for i in depthwise
    )
    reaches = [i - min(layers[i].inputs) for i in joins]
    growths = [
        log2(layers[i].out_channels / architecture.in_shape(i)[0]) for i in convolutions[1:]
    ] or [0.0]
    shortest, longest, paths = _paths(architecture)
    weighted = sum(kind in WEIGHTED for kind in kinds)
    return (
        kinds.count(LayerKind.ADD),
        kinds.count(LayerKind.CONCAT),
        sum(layers[i].inputs != (i - 1,) for i in convolutions),
        len(depthwise),
        len(depthwise) / len(convolutions),
        depthwise_macs / costs.macs,
        shortest,
        longest,
        log2(paths),
        1 - shortest / weighted,
        sum(reaches) / len(reaches) if reaches else 0.0,
        sum(i < joins[0] for i in convolutions) if joins else len(convolutions),
        sum(
            a is LayerKind.BATCH_NORM and b in ACTIVATIONS and c is LayerKind.CONVOLUTION
            for a, b, c in zip(kinds, kinds[1:], kinds[2:], strict=False)
        ),
        sum(kinds[i] is LayerKind.ADD and kinds[i - 1] not in ACTIVATIONS for i in joins),
        sum(growths) / len(growths),
        max(growths),
        kinds.count(LayerKind.RELU6),
        kinds.count(LayerKind.HARD_SWISH),
    )


def _paths(architecture: Architecture) -> tuple[int, int, int]:
    """Return the fewest and most weighted layers on a path to the output, and how many paths."""
    shortest, longest, paths = [0], [0], [1]
    for layer in architecture.layers:
        own = layer.kind in WEIGHTED
        sources = [source + 1 for source in layer.inputs]
        shortest.append(min(shortest[s] for s in sources) + own)
        longest.append(max(longest[s] for s in sources) + own)
        paths.append(sum(paths[s] for s in sources))
    return shortest[-1], longest[-1], paths[-1]
