"""Named networks: their names, depths and shapes."""

from __future__ import annotations

from collections import Counter

import pytest

from archpress_trainer.space.errors import ArchitectureError
from archpress_trainer.space.named import NAMED, named
from archpress_trainer.space.vocab import LayerKind
from tests.trainer.space.frozen import FROZEN


def test_every_named_network_has_frozen_numbers() -> None:
    assert set(NAMED) == set(FROZEN)


@pytest.mark.parametrize(
    ("name", "convolutions", "linears"),
    [("conv-7", 7, 1), ("conv-10", 10, 1), ("vgg-16-bn", 13, 1), ("resnet-20", 21, 1)],
)
def test_depths(name: str, convolutions: int, linears: int) -> None:
    kinds = Counter(layer.kind for layer in named(name, (3, 32, 32), 10).layers)
    assert kinds[LayerKind.CONVOLUTION] == convolutions
    assert kinds[LayerKind.LINEAR] == linears


def test_resnet_is_no_chain_and_the_others_are() -> None:
    chains = {name for name in NAMED if named(name, (3, 32, 32), 10).is_chain}
    assert chains == {"conv-7", "conv-10", "vgg-16-bn"}


@pytest.mark.parametrize("name", sorted(NAMED))
def test_classes_and_input_are_the_callers(name: str) -> None:
    architecture = named(name, (1, 40, 36), 7)
    assert architecture.input_shape == (1, 40, 36)
    assert architecture.shapes[-1] == (7,)


def test_a_small_input_vanishes() -> None:
    with pytest.raises(ArchitectureError, match="vanishes"):
        named("vgg-16-bn", (3, 8, 8), 10)


def test_an_unknown_name_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="conv-8"):
        named("conv-8", (3, 32, 32), 10)
