"""Shape inference equals what the built modules give."""

from __future__ import annotations

from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from archpress_trainer.space.build import build
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layer import INPUT
from archpress_trainer.space.named import named
from archpress_trainer.space.sampling import Sampler
from archpress_trainer.space.shapes import elements, window_output
from tests.trainer.nets import random_dag, sampled, samplers


def check(architecture: Architecture) -> None:
    network = build(architecture).eval()
    outputs = {INPUT: torch.zeros(2, *architecture.input_shape)}
    with torch.no_grad():
        for index, layer in enumerate(architecture.layers):
            outputs[index] = network.layers[index](*(outputs[i] for i in layer.inputs))
            assert tuple(outputs[index].shape[1:]) == architecture.shapes[index]
            assert layer.out_channels == architecture.shapes[index][0]


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_random_graphs(seed: int) -> None:
    check(random_dag(Random(seed)))


@pytest.mark.parametrize("sampler", samplers((3, 16, 20)), ids=lambda s: type(s).__name__)
def test_sampled_networks(sampler: Sampler) -> None:
    for sample in sampled(sampler, 25, seed=9):
        check(sample.architecture)


def test_a_network_with_skips() -> None:
    check(named("resnet-20", (3, 30, 34), 10))


@given(
    side=st.integers(1, 20),
    kernel=st.integers(1, 9),
    stride=st.integers(1, 4),
    padding=st.integers(0, 4),
)
@settings(max_examples=60)
def test_window_output(side: int, kernel: int, stride: int, padding: int) -> None:
    inferred = window_output(side, kernel, stride, padding)
    image, weight = torch.zeros(1, 1, side, 1), torch.zeros(1, 1, kernel, 1)
    if side + 2 * padding < kernel:
        assert inferred < 1
    else:
        real = functional.conv2d(image, weight, stride=(stride, 1), padding=(padding, 0))
        assert inferred == real.shape[2]


def test_elements() -> None:
    assert elements((3, 4, 5)) == 60
    assert elements((7,)) == 7
