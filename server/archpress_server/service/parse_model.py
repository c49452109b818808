"""Which network a request is about: a named one, an uploaded one, or one by its layers."""

from __future__ import annotations

from archpress_proto.v1 import architecture_pb2 as arch_pb
from archpress_proto.v1 import jobs_pb2 as pb
from archpress_server.compress.types import Reason
from archpress_server.jobs.model import ArtifactRecord
from archpress_server.service.convert_network import LAYER_KINDS, architecture_from_proto
from archpress_server.service.faults import Faults
from archpress_trainer.space.errors import ArchitectureError, Violation
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.named import NAMED, named
from archpress_trainer.space.vocab import Limits

MAX_INLINE_BYTES = 2**20

Shape = tuple[tuple[int, int, int], int]
"""Of a data set: that of its images, and how many classes it has."""

_LAYER_LIMITS = {
    "kernel": ("max_kernel", Limits.KERNEL),
    "out_channels": ("max_channels", Limits.CHANNELS),
    "stride": ("max_stride", Limits.STRIDE),
    "padding": ("max_padding", Limits.PADDING),
}
_HEADER_LIMITS = {
    "input_shape.channels": ("max_input_channels", Limits.INPUT_CHANNELS),
    "input_shape.height": ("max_input_side", Limits.INPUT_SIDE),
    "input_shape.width": ("max_input_side", Limits.INPUT_SIDE),
    "classes": ("max_classes", Limits.CLASSES),
}


def parse_model(
    faults: Faults, message: pb.JobSpec, upload: ArtifactRecord | None, shape: Shape | None
) -> Architecture | None:
    """Return the network that a specification names, which may be the `upload`.

    `shape` is the data set's, None where that is not known. There is no network where the
    specification has none or one that is at fault.
    """
    if upload is not None:
        return _uploaded(faults, upload, shape)
    match message.WhichOneof("model"):
        case "architecture":
            return _architecture(faults, message.architecture, shape)
        case "network":
            return _network(faults, message.network, shape)
    faults.add("spec.architecture", "one of architecture, network, artifact is required")
    return None


def _uploaded(faults: Faults, upload: ArtifactRecord, shape: Shape | None) -> Architecture | None:
    if upload.job:
        faults.add("spec.artifact", "is the result of a job; upload it to compress it again")
        return None
    architecture = upload.architecture
    if shape is not None and shape != (architecture.input_shape, architecture.classes):
        text = (
            f"takes {list(architecture.input_shape)} and gives {architecture.classes} classes, "
            f"the data set has {list(shape[0])} and {shape[1]}"
        )
        facts = {
            "expected": str(shape),
            "actual": str((architecture.input_shape, architecture.classes)),
        }
        faults.add("spec.artifact", text, Reason.SHAPE_MISMATCH, **facts)
    return architecture


def _architecture(
    faults: Faults,
    message: arch_pb.Architecture,
    shape: Shape | None,
) -> Architecture | None:
    if shape is not None:
        _check_shape(faults, message, shape)
    size = message.ByteSize()
    for name, actual, maximum in (
        ("max_layers", len(message.layers), Limits.LAYERS),
        ("max_inline_bytes", size, MAX_INLINE_BYTES),
    ):
        if actual > maximum:
            path = "spec.architecture" + (".layers" if name == "max_layers" else "")
            faults.add_limit(path, name, maximum, actual)
            return None
    unknown = [i for i, layer in enumerate(message.layers) if layer.kind not in LAYER_KINDS]
    for index in unknown:
        kind = message.layers[index].kind
        text = "is required" if kind == 0 else f"there is no kind {kind}"
        path = f"spec.architecture.layers[{index}].kind"
        faults.add(path, text, Reason.INVALID_ARCHITECTURE, layer=str(index), kind=str(kind))
    if unknown:
        return None
    try:
        return architecture_from_proto(message)
    except ArchitectureError as error:
        for violation in error.violations:
            _add_violation(faults, message, violation)
        return None


def _add_violation(faults: Faults, message: arch_pb.Architecture, violation: Violation) -> None:
    path = f"spec.architecture.{violation.path}"
    if violation.layer is None:
        limits, holder = _HEADER_LIMITS, message
        value = _header_value(holder, violation.field)
    else:
        limits = _LAYER_LIMITS
        value = getattr(message.layers[violation.layer], violation.field, 0)
    name, maximum = limits.get(violation.field, ("", 0))
    if name and value > maximum:
        faults.add_limit(path, name, maximum, value)
        return
    metadata = {}
    if violation.layer is not None and violation.kind is not None:
        metadata = {"layer": str(violation.layer), "kind": violation.kind.name}
    faults.add(path, violation.reason, Reason.INVALID_ARCHITECTURE, **metadata)


def _header_value(message: arch_pb.Architecture, field: str) -> int:
    if field == "classes":
        return message.classes
    name = field.removeprefix("input_shape.")
    return int(getattr(message.input_shape, name, 0))


def _check_shape(faults: Faults, message: arch_pb.Architecture, shape: Shape) -> None:
    sides = (
        message.input_shape.channels,
        message.input_shape.height,
        message.input_shape.width,
    )
    for path, actual, expected in (
        ("input_shape", list(sides), list(shape[0])),
        ("classes", message.classes, shape[1]),
    ):
        if actual != expected:
            faults.add(
                f"spec.architecture.{path}",
                f"is {actual}, the data set has {expected}",
                Reason.SHAPE_MISMATCH,
                expected=str(expected),
                actual=str(actual),
            )


def _network(faults: Faults, name: str, shape: Shape | None) -> Architecture | None:
    if name not in NAMED:
        known = ", ".join(NAMED)
        text = f"there is no network {name[:100]!r}; known are {known}"
        faults.add("spec.network", text, Reason.UNKNOWN_NETWORK, network=name, known=known)
        return None
    if shape is None:
        return None
    try:
        return named(name, *shape)
    except ArchitectureError as error:
        text = f"{name} does not fit the data set: {error.violations[0]}"
        faults.add("spec.network", text, Reason.INVALID_ARCHITECTURE)
        return None
