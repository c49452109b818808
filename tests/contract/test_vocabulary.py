"""The wire's layer kinds, error reasons and phases are those of the code, name by name."""

from __future__ import annotations

from archpress_client import LayerKind as ClientKind
from archpress_proto.v1 import architecture_pb2, jobs_pb2
from archpress_server.compress.types import Effort, Method, Phase, Reason
from archpress_trainer.space.vocab import LayerKind


def names(enum: dict[str, int], prefix: str) -> dict[str, int]:
    """Return an enum's values without their prefix and without the zero."""
    return {name.removeprefix(prefix): number for name, number in enum.items() if number}


def test_layer_kinds() -> None:
    wire = names(dict(architecture_pb2.LayerKind.items()), "LAYER_KIND_")
    assert wire == {kind.name: kind.value for kind in LayerKind}
    # The client has one more, for kinds of a later server.
    assert set(wire) | {"UNKNOWN"} == {kind.name for kind in ClientKind}


def test_error_reasons() -> None:
    wire = names(dict(jobs_pb2.ErrorReason.items()), "ERROR_REASON_")
    assert {reason.value for reason in Reason} <= set(wire)


def test_phases_efforts_and_methods() -> None:
    assert [phase.name for phase in Phase] == list(names(dict(jobs_pb2.Phase.items()), "PHASE_"))
    assert {effort.name for effort in Effort} == set(
        names(dict(jobs_pb2.Effort.items()), "EFFORT_")
    )
    assert {method.name for method in Method} == set(
        names(dict(jobs_pb2.Method.items()), "METHOD_")
    )
