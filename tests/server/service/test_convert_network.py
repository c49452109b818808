"""Round trips of networks, and the numbers of their layers."""

from __future__ import annotations

from hypothesis import given, settings

from archpress_proto.v1 import architecture_pb2 as arch_pb
from archpress_server.service.convert_network import architecture_from_proto, architecture_to_proto
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.vocab import LayerKind
from tests.server.strategies import architectures


@settings(max_examples=40)
@given(architectures)
def test_architectures_survive_messages(architecture: Architecture) -> None:
    message = architecture_to_proto(architecture)
    wire = arch_pb.Architecture.FromString(message.SerializeToString())
    assert architecture_from_proto(wire) == architecture


def test_every_kind_of_layer_has_its_number() -> None:
    assert {f"LAYER_KIND_{kind.name}": int(kind) for kind in LayerKind} == {
        name: number for name, number in arch_pb.LayerKind.items() if number
    }
