"""`Architecture`: what it refuses, what it normalises, and what its digest depends on."""

from __future__ import annotations

import hashlib
import json
import pickle
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archpress_trainer.space.errors import ArchitectureError
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layer import Layer
from archpress_trainer.space.layers import (
    add,
    average_pool,
    batch_norm,
    concat,
    conv,
    dropout,
    global_average_pool,
    linear,
    max_pool,
    relu,
)
from archpress_trainer.space.vocab import LayerKind, Limits
from tests.trainer.nets import chains, random_dag, reordered, residual_nets, small_net

seeds = st.integers(0, 2**32 - 1)


def net(*layers: Layer, input_shape: Any = (3, 8, 8), classes: int = 2) -> Architecture:
    return Architecture(input_shape, classes, layers)


TAIL = (global_average_pool(), linear(2))


@pytest.mark.parametrize(
    ("layers", "path", "kind", "number"),
    [
        ((conv(8, 0), *TAIL), "layers[0].kernel", "CONVOLUTION", "0"),
        ((conv(8, 33, padding=0), *TAIL), "layers[0].kernel", "CONVOLUTION", "33"),
        ((conv(8, 3, stride=17), *TAIL), "layers[0].stride", "CONVOLUTION", "17"),
        ((conv(8, 3, padding=-1), *TAIL), "layers[0].padding", "CONVOLUTION", "-1"),
        ((conv(8, 3, padding=31), *TAIL), "layers[0].padding", "CONVOLUTION", "31"),
        ((conv(2**31, 3), *TAIL), "layers[0].out_channels", "CONVOLUTION", str(2**31)),
        ((conv(-4, 3), *TAIL), "layers[0].out_channels", "CONVOLUTION", "-4"),
        ((linear(2**31), linear(2)), "layers[0].out_channels", "LINEAR", str(2**31)),
        ((conv(8, 3, groups=0), *TAIL), "layers[0].groups", "CONVOLUTION", "0"),
        ((conv(8, 3, groups=2), *TAIL), "layers[0].groups", "CONVOLUTION", "2"),
        ((max_pool(3, padding=2), *TAIL), "layers[0].padding", "MAX_POOL", "2"),
        ((average_pool(2, stride=0), *TAIL), "layers[0].stride", "AVERAGE_POOL", "0"),
        ((dropout(1.0), *TAIL), "layers[0].rate", "DROPOUT", "1.0"),
        ((dropout(-0.25), *TAIL), "layers[0].rate", "DROPOUT", "-0.25"),
        ((replace(relu(), rate=0.5), *TAIL), "layers[0].rate", "RELU", "0.5"),
        ((replace(relu(), kernel=3), *TAIL), "layers[0].kernel", "RELU", "3"),
        ((replace(relu(), groups=4), *TAIL), "layers[0].groups", "RELU", "4"),
        ((replace(relu(), out_channels=5), *TAIL), "layers[0].out_channels", "RELU", "5"),
        ((replace(relu(), bias=True), *TAIL), "layers[0].bias", "RELU", "RELU"),
        ((replace(relu(), inputs=(4,)), *TAIL), "layers[0].inputs", "RELU", "4"),
        ((replace(relu(), inputs=(-2,)), *TAIL), "layers[0].inputs", "RELU", "-2"),
        ((replace(relu(), inputs=(-1, -1)), *TAIL), "layers[0].inputs", "RELU", "2"),
        ((relu(), replace(add(0, -1), inputs=(0,)), *TAIL), "layers[1].inputs", "ADD", "1"),
        ((relu(), conv(8, 9, padding=0), *TAIL), "layers[1].kernel", "CONVOLUTION", "9"),
        ((conv(8, 3), add(0, -1), *TAIL), "layers[1].inputs", "ADD", "[3, 8, 8]"),
        (
            (conv(8, 3, stride=2), concat(0, -1), *TAIL),
            "layers[1].inputs",
            "CONCAT",
            "[8, 4, 4]",
        ),
        ((global_average_pool(), conv(8, 1), linear(2)), "layers[1].kind", "CONVOLUTION", "3"),
        ((linear(8), max_pool(), linear(2)), "layers[1].kind", "MAX_POOL", "8"),
        (
            (linear(8), global_average_pool()),
            "layers[1].kind",
            "GLOBAL_AVERAGE_POOL",
            "8",
        ),
        ((linear(3),), "layers[0].out_channels", "LINEAR", "3"),
        ((conv(5, 3), global_average_pool()), "layers[1].out_channels", "GLOBAL_AVERAGE_POOL", "5"),
    ],
)
def test_a_fault_names_layer_kind_and_number(
    layers: tuple[Layer, ...], path: str, kind: str, number: str
) -> None:
    with pytest.raises(ArchitectureError) as caught:
        net(*layers)
    (line,) = [str(v) for v in caught.value.violations if v.path == path]
    assert line.startswith(f"{path} ({kind}): ")
    assert number in line
    assert line in str(caught.value)


@pytest.mark.parametrize("last", [relu(), conv(2, 1), batch_norm(), dropout()])
def test_the_last_layer_must_be_a_classifier(last: Layer) -> None:
    with pytest.raises(ArchitectureError, match=r"layers\[1\].kind \(\w+\): the last layer must"):
        net(linear(2), last)


def test_an_unread_layer_is_refused() -> None:
    with pytest.raises(ArchitectureError, match=r"layers\[0\].inputs \(RELU\): no later layer"):
        net(relu(), conv(8, 3, inputs=(-1,)), *TAIL)


@pytest.mark.parametrize(
    ("input_shape", "classes", "path", "number"),
    [
        ((0, 8, 8), 2, "input_shape.channels", "0"),
        ((65, 8, 8), 2, "input_shape.channels", "65"),
        ((3, 513, 8), 2, "input_shape.height", "513"),
        ((3, 8, -8), 2, "input_shape.width", "-8"),
        ((3, 8, 8), 1, "classes", "1"),
        ((3, 8, 8), 10_001, "classes", "10001"),
    ],
)
def test_a_wrong_header_is_named(
    input_shape: tuple[int, int, int], classes: int, path: str, number: str
) -> None:
    with pytest.raises(ArchitectureError) as caught:
        net(linear(classes), input_shape=input_shape, classes=classes)
    assert [v.path for v in caught.value.violations] == [path]
    assert f"is {number}," in str(caught.value)


def test_all_violations_come_at_once() -> None:
    with pytest.raises(ArchitectureError) as caught:
        net(conv(8, 0, stride=99), dropout(2.0), relu())
    paths = [v.path for v in caught.value.violations]
    assert paths == ["layers[0].kernel", "layers[0].stride", "layers[1].rate", "layers[2].kind"]


def test_all_header_violations_come_at_once() -> None:
    with pytest.raises(ArchitectureError) as caught:
        Architecture((0, 0, 8), 0, ())
    paths = [v.path for v in caught.value.violations]
    assert paths == ["input_shape.channels", "input_shape.height", "classes", "layers"]


def test_ten_thousand_layers_are_refused_with_one_fault() -> None:
    with pytest.raises(ArchitectureError) as caught:
        net(*[relu()] * 10_000)
    (violation,) = caught.value.violations
    assert str(violation) == f"layers: there are 10000, must be 1 to {Limits.LAYERS}"


def test_as_many_layers_as_allowed_work() -> None:
    architecture = net(*[relu()] * (Limits.LAYERS - 1), linear(2))
    assert architecture.shapes[-1] == (2,)
    assert len(architecture.digest) == 64


def test_the_error_survives_pickling() -> None:
    with pytest.raises(ArchitectureError) as caught:
        net(linear(3))
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.violations == caught.value.violations
    assert str(again) == str(caught.value)


def test_biases_become_explicit() -> None:
    architecture = net(
        conv(4, 3),
        batch_norm(),
        conv(4, 3),
        relu(),
        conv(4, 1),
        batch_norm(),
        add(4, 5),
        global_average_pool(),
        linear(2),
    )
    # Layer 0 feeds a norm only, layer 4 also the sum.
    assert [layer.bias for layer in architecture.layers] == [
        False, None, True, None, True, None, None, None, True,
    ]  # fmt: skip


def test_spelled_out_networks_equal_implied_ones() -> None:
    implied = net(conv(4, 3), batch_norm(), relu(), *TAIL)
    spelled = net(
        replace(conv(4, 3), bias=False, inputs=(-1,)),
        replace(batch_norm(inputs=(0,)), out_channels=4),
        replace(relu(), inputs=(1,), out_channels=4),
        replace(global_average_pool(), inputs=(2,)),
        replace(linear(2), bias=True),
    )
    assert implied == spelled
    assert implied.digest == spelled.digest
    kept = net(replace(conv(4, 3), bias=True), batch_norm(), relu(), *TAIL)
    assert kept != implied
    assert kept.digest != implied.digest


@given(seed=seeds)
@settings(max_examples=50)
def test_json_round_trip(seed: int) -> None:
    architecture = random_dag(Random(seed))
    again = Architecture.from_json(json.loads(json.dumps(architecture.to_json())))
    assert again == architecture
    assert again.shapes == architecture.shapes
    assert again.digest == architecture.digest


def test_the_digest_is_that_of_the_canonical_json_text() -> None:
    drawn = [random_dag(Random(seed)) for seed in range(60)]
    for net in [*chains(20), *residual_nets(20), *drawn]:
        record = (net if net.has_unique_order else net.canonical()).to_json()
        text = json.dumps(record, sort_keys=True, separators=(",", ":"))
        assert net.digest == hashlib.sha256(text.encode()).hexdigest()


def test_json_of_a_chain_is_short() -> None:
    record = net(conv(4, 3), relu(), dropout(0.25), *TAIL).to_json()
    assert record["layers"] == [
        {"kind": "CONVOLUTION", "kernel": 3, "out_channels": 4, "stride": 1, "padding": 1}
        | {"bias": True},
        {"kind": "RELU"},
        {"kind": "DROPOUT", "rate": 0.25},
        {"kind": "GLOBAL_AVERAGE_POOL"},
        {"kind": "LINEAR", "out_channels": 2, "bias": True},
    ]


@given(seed=seeds, other=seeds)
@settings(max_examples=60)
def test_the_order_of_branches_does_not_change_the_digest(seed: int, other: int) -> None:
    architecture = random_dag(Random(seed))
    shuffled = reordered(architecture, Random(other))
    assert shuffled.digest == architecture.digest
    assert shuffled.canonical() == architecture.canonical()


@given(seed=seeds)
@settings(max_examples=50)
def test_a_changed_layer_changes_the_digest(seed: int) -> None:
    rng = Random(seed)
    architecture = random_dag(rng)
    layers = list(architecture.layers)
    weighted = [i for i, layer in enumerate(layers) if layer.kind is LayerKind.LINEAR]
    place = rng.choice(weighted)
    layers[place] = replace(layers[place], bias=not layers[place].bias)
    changed = Architecture(architecture.input_shape, architecture.classes, tuple(layers))
    assert changed.digest != architecture.digest


def test_which_input_comes_first_matters_for_a_concatenation() -> None:
    def joined(*inputs: int) -> Architecture:
        return net(conv(4, 3), conv(4, 1, inputs=(-1,)), concat(*inputs), conv(2, 1), *TAIL)

    assert joined(0, 1).digest != joined(1, 0).digest


def test_is_chain() -> None:
    assert small_net().is_chain
    assert small_net().has_unique_order
    skip = net(conv(3, 3), add(0, -1), *TAIL)
    assert not skip.is_chain
    assert skip.has_unique_order
    branches = net(conv(3, 3), conv(3, 1, inputs=(-1,)), add(0, 1), *TAIL)
    assert not branches.has_unique_order
    assert skip.consumers == ((1,), (2,), (3,), ())
