"""The practical prior: widths on the rungs, sizes across its window, small kernels."""

from __future__ import annotations

from math import log2

import pytest

from archpress_trainer.space.architecture_space import ArchitectureSpace
from archpress_trainer.space.practical_sampler import PracticalSampler, Window
from archpress_trainer.space.vocab import LayerKind
from tests.trainer.nets import sampled

SPACE = ArchitectureSpace((1, 28, 28), 10)


def test_widths_are_rungs_and_multiples_of_eight() -> None:
    for sample in sampled(PracticalSampler(SPACE), 80):
        for layer in sample.architecture.layers[:-1]:
            if layer.kind in (LayerKind.CONVOLUTION, LayerKind.LINEAR):
                assert layer.out_channels in SPACE.channels
                assert layer.out_channels % 8 == 0


def test_sizes_spread_over_the_window() -> None:
    sizes = [log2(s.costs.params) for s in sampled(PracticalSampler(SPACE), 300)]
    low, high = log2(2_000), log2(1_000_000)
    thirds = [0, 0, 0]
    for size in sizes:
        thirds[min(2, max(0, int((size - low) / (high - low) * 3)))] += 1
    assert min(thirds) > 40


@pytest.mark.parametrize("window", [Window(3_000, 10_000), Window(200_000, 400_000)])
def test_a_window_moves_the_sizes(window: Window) -> None:
    sizes = sorted(s.costs.params for s in sampled(PracticalSampler(SPACE, window), 60))
    assert window.min_params / 2 < sizes[30] < window.max_params * 2


def test_every_kind_of_the_prior_occurs() -> None:
    samples = sampled(PracticalSampler(SPACE), 300)
    kinds = {layer.kind for s in samples for layer in s.architecture.layers}
    assert kinds == set(SPACE.kinds)
