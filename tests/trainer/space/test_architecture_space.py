"""`ArchitectureSpace`: its digest, its JSON, and why an architecture lies outside."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest

from archpress_trainer.space.architecture_space import (
    CHANNEL_RUNGS,
    DEPTHWISE,
    ArchitectureSpace,
    paper_space,
    residual_space,
)
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layer import Layer
from archpress_trainer.space.layers import (
    add,
    conv,
    dropout,
    global_average_pool,
    linear,
    relu,
)
from archpress_trainer.space.named import named
from archpress_trainer.space.vocab import PAPER_KINDS, LayerKind
from tests.trainer.nets import RESIDUAL_SPACE, SPACE, residual_net, small_net

OTHER: dict[str, Any] = {
    "input_shape": (3, 12, 12),
    "classes": 5,
    "kinds": SPACE.kinds[:-1],
    "kernels": (1, 3),
    "strides": (1, 2),
    "paddings": (0, 1),
    "channels": (8, 16),
    "dropout_rate": 0.3,
    "max_layers": 49,
    "max_params": 1_500_001,
    "max_macs": 80_000_001,
    "groups": (1, DEPTHWISE),
    "max_reach": 5,
}


def test_every_field_changes_the_digest() -> None:
    assert set(OTHER) == {field.name for field in fields(ArchitectureSpace)}
    digests = {replace(SPACE, **{name: value}).digest for name, value in OTHER.items()}
    assert len(digests) == len(OTHER)
    assert SPACE.digest not in digests


@pytest.mark.parametrize("space", [SPACE, ArchitectureSpace(**OTHER), paper_space((1, 28, 28), 10)])
def test_json_round_trip(space: ArchitectureSpace) -> None:
    again = ArchitectureSpace.from_json(json.loads(json.dumps(space.to_json())))
    assert again == space
    assert again.digest == space.digest


def test_a_digest_is_the_same_in_every_release() -> None:
    assert ArchitectureSpace((1, 28, 28), 10).digest.startswith("48698b9f21fe6862")


def test_the_rungs() -> None:
    assert CHANNEL_RUNGS == (
        8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448,
        512, 640, 768, 896, 1024,
    )  # fmt: skip


TAIL = (global_average_pool(), linear(4))


@pytest.mark.parametrize(
    ("layers", "fault"),
    [
        ((linear(4),), "layers: there is no convolution"),
        ((conv(8, 4, padding=2), *TAIL), "layers[0].kernel (CONVOLUTION): is 4, the space has"),
        ((conv(8, 3, stride=4), *TAIL), "layers[0].stride (CONVOLUTION): is 4, the space has"),
        ((conv(8, 3, padding=4), *TAIL), "layers[0].padding (CONVOLUTION): is 4, the space has"),
        ((conv(8, 3), Layer(LayerKind.GELU), *TAIL), "layers[1].kind (GELU): is not in the space"),
        ((conv(8, 3), conv(8, 3, groups=8), *TAIL), "layers[1].groups (CONVOLUTION): is 8"),
        ((conv(1032, 1), *TAIL), "layers[0].out_channels (CONVOLUTION): is 1032, at most 1024"),
        ((conv(8, 3), *[relu()] * 46, *TAIL), "layers: there are 49, the space allows 48"),
    ],
)
def test_outside(layers: tuple[Layer, ...], fault: str) -> None:
    net = Architecture(SPACE.input_shape, SPACE.classes, layers)
    (violation,) = SPACE.violations(net)
    assert str(violation).startswith(fault)
    assert not SPACE.contains(net)


def test_joins_are_outside() -> None:
    net = Architecture(SPACE.input_shape, SPACE.classes, (conv(1, 3), add(0, -1), *TAIL))
    faults = [str(violation) for violation in SPACE.violations(net)]
    assert faults == ["layers: is not a chain", "layers[1].kind (ADD): is not in the space"]


def test_the_residual_space_holds_joins_and_depthwise_convolutions() -> None:
    assert RESIDUAL_SPACE.contains(residual_net())
    assert RESIDUAL_SPACE.contains(small_net())
    resnet = named("resnet-20", (3, 32, 32), 10)
    assert residual_space((3, 32, 32), 10).contains(resnet)


@pytest.mark.parametrize(
    ("layers", "fault"),
    [
        ((conv(8, 3), conv(8, 3, groups=2)), "layers[1].groups (CONVOLUTION): is 2, the space has"),
        ((conv(8, 3), conv(8, 3), conv(8, 3), add(0, 1, 2)), "layers[3].inputs (ADD): must be the"),
        ((conv(8, 3), conv(8, 3), relu(), add(0, 1), add(2, 3)), "layers[3].inputs (ADD): must"),
        ((conv(8, 3), conv(8, 3), add(1, 1)), "layers[2].inputs (ADD): must be the layer before"),
        ((conv(8, 3), *[relu()] * 12, add(0, 12)), "layers[13].inputs (ADD): reaches 13 layers"),
        (
            (conv(8, 3), conv(8, 3), Layer(LayerKind.RELU, inputs=(0,)), add(1, 2)),
            "layers[2].inputs (RELU): must be the layer before it",
        ),
        ((conv(8, 3), *[relu()] * 95), "layers: there are 98, the space allows 96"),
    ],
)
def test_outside_the_residual_space(layers: tuple[Layer, ...], fault: str) -> None:
    net = Architecture(SPACE.input_shape, SPACE.classes, (*layers, *TAIL))
    (violation,) = RESIDUAL_SPACE.violations(net)
    assert str(violation).startswith(fault)


def test_costs_bound_the_space() -> None:
    net = small_net(64)
    small = replace(SPACE, max_params=1_000, max_macs=1_000)
    assert [v.field for v in small.violations(net)] == ["params", "macs"]
    assert SPACE.contains(net)


def test_another_input_or_class_count_is_outside() -> None:
    net = Architecture((2, 10, 10), 3, (conv(8, 3), dropout(), linear(3)))
    faults = [str(violation) for violation in SPACE.violations(net)]
    assert faults == [
        "input_shape: is [2, 10, 10], the space has [1, 12, 12]",
        "classes: is 3, the space has 4",
    ]


def test_the_papers_space() -> None:
    space = paper_space((3, 32, 32), 10)
    assert space.kinds == PAPER_KINDS
    assert (min(space.kernels), max(space.kernels)) == (1, 10)
    assert (min(space.channels), max(space.channels)) == (16, 4096)
    assert space.max_layers == 50
