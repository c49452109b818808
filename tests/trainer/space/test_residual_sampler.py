"""The residual prior: blocks of every family, widths on the rungs, sizes across its window."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from math import log2
from random import Random

import pytest

from archpress_trainer.space.architecture_space import residual_space
from archpress_trainer.space.practical_sampler import Window
from archpress_trainer.space.residual_sampler import ResidualSampler
from archpress_trainer.space.sampling import Rejections, draw
from archpress_trainer.space.vocab import ACTIVATIONS, LayerKind
from tests.trainer.nets import sampled

SPACE = residual_space((1, 28, 28), 10)
NETS = [sample.architecture for sample in sampled(ResidualSampler(SPACE), 250)]


def test_widths_are_rungs() -> None:
    for net in NETS:
        for index, layer in enumerate(net.layers[:-1]):
            if layer.kind is LayerKind.CONVOLUTION and layer.groups == 1:
                assert layer.out_channels in SPACE.channels, index


def test_sizes_spread_over_the_window() -> None:
    sizes = [log2(s.costs.params) for s in sampled(ResidualSampler(SPACE), 300)]
    low, high = log2(2_000), log2(1_000_000)
    thirds = [0, 0, 0]
    for size in sizes:
        thirds[min(2, max(0, int((size - low) / (high - low) * 3)))] += 1
    assert min(thirds) > 40


@pytest.mark.parametrize("window", [Window(5_000, 10_000), Window(200_000, 400_000)])
def test_a_window_moves_the_sizes(window: Window) -> None:
    sizes = sorted(s.costs.params for s in sampled(ResidualSampler(SPACE, window), 60))
    assert window.min_params / 2 < sizes[30] < window.max_params * 2


def test_every_kind_of_join_occurs() -> None:
    found = Counter[str]()
    for net in NETS:
        kinds = {layer.kind.name for layer in net.layers}
        found.update(kinds)
        for index, layer in enumerate(net.layers):
            if layer.kind is LayerKind.CONVOLUTION:
                found["projection"] += layer.inputs != (index - 1,)
                found["depthwise"] += net.is_depthwise(index)
    for name in ("ADD", "CONCAT", "projection", "depthwise", "RELU6", "HARD_SWISH", "SILU"):
        assert found[name] >= 5, name


def test_most_nets_have_joins_and_some_are_chains() -> None:
    chains = sum(net.is_chain for net in NETS)
    assert 0.05 < chains / len(NETS) < 0.4


def test_no_layer_undoes_or_repeats_the_one_before_it() -> None:
    for net in NETS:
        for layer in net.layers:
            before = net.layers[layer.inputs[0]].kind if layer.inputs[0] >= 0 else None
            assert not (layer.kind in ACTIVATIONS and before in ACTIVATIONS)
            assert not (layer.kind is before is LayerKind.BATCH_NORM)


def test_hardly_any_proposal_is_invalid() -> None:
    rejections = Rejections()
    list(islice(draw(ResidualSampler(SPACE), Random(1), rejections=rejections), 200))
    assert set(rejections.reasons) <= {
        "outside the space: macs",
        "outside the space: params",
        "outside the space: layers",
    }
    assert rejections.proposals < 260
