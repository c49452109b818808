"""Networks in code, as JSON and as messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archpress_client import InvalidRequestError, Layer, LayerKind, Network
from archpress_client._convert_network import network_from_proto, network_to_proto
from archpress_client._network import WEIGHTED
from archpress_proto.v1 import architecture_pb2


def example() -> Network:
    return Network(
        input_shape=(1, 28, 28),
        classes=10,
        layers=[
            Layer.conv(32, 3),
            Layer.batch_norm(),
            Layer.relu(),
            Layer.conv(32, 3, groups=32, bias=False),
            Layer.add(2, 3),
            Layer.activation(LayerKind.SILU),
            Layer.max_pool(),
            Layer.average_pool(3, stride=1, padding=1),
            Layer.concat(6, 7),
            Layer.global_average_pool(),
            Layer.dropout(0.3),
            Layer.linear(10),
        ],
    )


kinds = st.sampled_from([kind for kind in LayerKind if kind is not LayerKind.UNKNOWN])


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    kind = draw(kinds)
    number = st.integers(0, 2**31 - 1)
    return Layer(
        kind,
        kernel=draw(number),
        out_channels=draw(number) if kind in WEIGHTED else 0,
        stride=draw(number),
        padding=draw(number),
        groups=draw(st.integers(1, 2**31 - 1)),
        bias=draw(st.none() | st.booleans()),
        rate=draw(st.floats(0.0, 1.0)) if kind is LayerKind.DROPOUT else 0.0,
        inputs=tuple(draw(st.lists(st.integers(-1, 500), max_size=3))),
    )


networks = st.builds(
    Network,
    st.tuples(st.integers(1, 64), st.integers(1, 512), st.integers(1, 512)),
    st.integers(2, 10_000),
    st.lists(layers(), max_size=6),
)


@given(networks)
def test_message_round_trip(network: Network) -> None:
    assert network_from_proto(network_to_proto(network)) == network


@given(networks)
def test_json_round_trip(network: Network) -> None:
    record = network.to_json()
    assert Network.from_json(record) == network


def test_layers_are_kept_by_value() -> None:
    assert example() == example()
    assert hash(example()) == hash(example())


def test_file_round_trip(tmp_path: Path) -> None:
    example().save(tmp_path / "net.json")
    assert Network.load(tmp_path / "net.json") == example()


def test_unset_fields_of_messages() -> None:
    layer = network_to_proto(example()).layers[0]
    assert not any(layer.HasField(name) for name in ("groups", "bias", "rate"))
    zero = Network((1, 1, 1), 2, [Layer.dropout(0.0)])
    assert network_to_proto(zero).layers[0].HasField("rate")


def test_defaults_and_unknown_kinds_of_messages() -> None:
    message = architecture_pb2.Architecture(
        layers=[
            architecture_pb2.Layer(kind=architecture_pb2.LayerKind.LAYER_KIND_DROPOUT),
            architecture_pb2.Layer(kind=architecture_pb2.LayerKind.ValueType(999)),
        ]
    )
    dropout, unknown = network_from_proto(message).layers
    assert dropout.rate == 0.5
    assert unknown.kind is LayerKind.UNKNOWN


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"input_shape": [1, 28]}, "input_shape"),
        ({"input_shape": "abc"}, "input_shape"),
        ({"classes": "ten"}, "classes"),
        ({"layers": {}}, "layers"),
        ({"layers": [3]}, "layers[0]"),
        ({"layers": [{"kind": "NOPE"}]}, "layers[0].kind"),
        ({"layers": [{"kind": ["RELU"]}]}, "layers[0].kind"),
        ({"layers": [{"kind": "RELU"}, {"kind": "RELU", "size": 3}]}, "layers[1].size"),
        ({"layers": [{"kind": "RELU", "kernel": 1.5}]}, "layers[0].kernel"),
        ({"layers": [{"kind": "RELU", "kernel": True}]}, "layers[0].kernel"),
        ({"layers": [{"kind": "ADD", "inputs": ["a", 1]}]}, "layers[0].inputs"),
        ({"layers": [{"kind": "RELU", "bias": 1}]}, "layers[0].bias"),
        ({"layers": [{"kind": "DROPOUT"}]}, "layers[0].rate"),
    ],
)
def test_malformed_json_is_named(change: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        Network.from_json(example().to_json() | change)
    assert [fault.field for fault in caught.value.violations] == [field]


def test_a_file_that_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "net.json").write_text("{")
    with pytest.raises(InvalidRequestError, match="no JSON"):
        Network.load(tmp_path / "net.json")


def test_same_record_as_the_trainer() -> None:
    graph = pytest.importorskip("archpress_trainer.space.graph")
    architecture = graph.Architecture.from_json(example().to_json())
    record = architecture.to_json()
    assert Network.from_json(record).to_json() == record
    assert graph.Architecture.from_json(Network.from_json(record).to_json()) == architecture


def test_same_kinds_as_api_and_trainer() -> None:
    vocab = pytest.importorskip("archpress_trainer.space.vocab")
    known = {kind.name: kind.value for kind in LayerKind if kind is not LayerKind.UNKNOWN}
    assert known == {kind.name: kind.value for kind in vocab.LayerKind}
    api = {
        name.removeprefix("LAYER_KIND_"): number
        for name, number in architecture_pb2.LayerKind.items()
        if number
    }
    assert known == api
