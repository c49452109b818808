"""`Network`: the layers of a network without weights, in code and as JSON."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from archpress_client._errors import FieldViolation, InvalidRequestError, UnsupportedError

if TYPE_CHECKING:
    from torch import nn
    from typing_extensions import TypeIs


class LayerKind(IntEnum):
    """What a layer does; the numbers are those of the API."""

    UNKNOWN = 0
    CONVOLUTION = 1
    MAX_POOL = 2
    BATCH_NORM = 3
    RELU = 4
    SIGMOID = 5
    DROPOUT = 6
    AVERAGE_POOL = 7
    LINEAR = 8
    GLOBAL_AVERAGE_POOL = 9
    ADD = 10
    CONCAT = 11
    LEAKY_RELU = 12
    RELU6 = 13
    SILU = 14
    HARD_SWISH = 15
    GELU = 16
    TANH = 17


WEIGHTED = frozenset({LayerKind.CONVOLUTION, LayerKind.LINEAR})
"""Kinds that choose their own `out_channels`."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer; attributes that its kind does not have stay at their defaults.

    `inputs` are indices of earlier layers, -1 for the network's input; empty means the previous
    layer. `bias` None means: there is one unless the only consumer is a BATCH_NORM.
    """

    kind: LayerKind
    kernel: int = 0
    out_channels: int = 0
    stride: int = 0
    padding: int = 0
    groups: int = 1
    bias: bool | None = None
    rate: float = 0.0
    inputs: tuple[int, ...] = ()

    @classmethod
    def conv(
        cls,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int | None = None,
        groups: int = 1,
        bias: bool | None = None,
        inputs: Sequence[int] = (),
    ) -> Layer:
        """Return a convolution; `padding` None keeps the size at stride 1 (half the kernel)."""
        return cls(
            LayerKind.CONVOLUTION,
            kernel=kernel,
            out_channels=out_channels,
            stride=stride,
            padding=kernel // 2 if padding is None else padding,
            groups=groups,
            bias=bias,
            inputs=tuple(inputs),
        )

    @classmethod
    def max_pool(
        cls, kernel: int = 2, *, stride: int = 2, padding: int = 0, inputs: Sequence[int] = ()
    ) -> Layer:
        """Return a max-pooling layer."""
        kind = LayerKind.MAX_POOL
        return cls(kind, kernel=kernel, stride=stride, padding=padding, inputs=tuple(inputs))

    @classmethod
    def average_pool(
        cls, kernel: int = 2, *, stride: int = 2, padding: int = 0, inputs: Sequence[int] = ()
    ) -> Layer:
        """Return an average-pooling layer (padding counts as zeros)."""
        kind = LayerKind.AVERAGE_POOL
        return cls(kind, kernel=kernel, stride=stride, padding=padding, inputs=tuple(inputs))

    @classmethod
    def global_average_pool(cls, *, inputs: Sequence[int] = ()) -> Layer:
        """Return a layer that averages each channel over the image."""
        return cls(LayerKind.GLOBAL_AVERAGE_POOL, inputs=tuple(inputs))

    @classmethod
    def batch_norm(cls, *, inputs: Sequence[int] = ()) -> Layer:
        """Return a batch normalization."""
        return cls(LayerKind.BATCH_NORM, inputs=tuple(inputs))

    @classmethod
    def relu(cls, *, inputs: Sequence[int] = ()) -> Layer:
        """Return a rectifier."""
        return cls(LayerKind.RELU, inputs=tuple(inputs))

    @classmethod
    def activation(cls, kind: LayerKind, *, inputs: Sequence[int] = ()) -> Layer:
        """Return a layer of a kind without attributes, such as SILU."""
        return cls(kind, inputs=tuple(inputs))

    @classmethod
    def dropout(cls, rate: float = 0.5, *, inputs: Sequence[int] = ()) -> Layer:
        """Return a dropout layer."""
        return cls(LayerKind.DROPOUT, rate=rate, inputs=tuple(inputs))

    @classmethod
    def linear(
        cls, out_features: int, *, bias: bool | None = None, inputs: Sequence[int] = ()
    ) -> Layer:
        """Return a fully connected layer; a feature map is flattened first."""
        return cls(LayerKind.LINEAR, out_channels=out_features, bias=bias, inputs=tuple(inputs))

    @classmethod
    def add(cls, *inputs: int) -> Layer:
        """Return the sum of earlier layers."""
        return cls(LayerKind.ADD, inputs=inputs)

    @classmethod
    def concat(cls, *inputs: int) -> Layer:
        """Return the channel-wise concatenation of earlier layers."""
        return cls(LayerKind.CONCAT, inputs=inputs)

    def to_json(self) -> dict[str, Any]:
        """Return what differs from the defaults and does not follow from the input."""
        record: dict[str, Any] = {"kind": self.kind.name}
        for name, default in _DEFAULTS.items():
            value = getattr(self, name)
            implied = name == "out_channels" and self.kind not in WEIGHTED
            # What an API's unset rate means is not 0.
            told = name == "rate" and self.kind is LayerKind.DROPOUT
            if told or (value != default and not implied):
                record[name] = list(value) if isinstance(value, tuple) else value
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any], path: str = "layer") -> Layer:
        """Inverse of `to_json`; `path` names the layer in errors."""
        if not isinstance(record, Mapping):
            raise _malformed(path, f"is {record!r}, must be an object")
        values = dict(record)
        kind = values.pop("kind", None)
        if not isinstance(kind, str) or kind not in LayerKind.__members__ or kind == "UNKNOWN":
            raise _malformed(f"{path}.kind", f"{kind!r} is no kind of layer")
        for name, value in values.items():
            if name not in _DEFAULTS:
                raise _malformed(f"{path}.{name}", "a layer has no such attribute")
            if not _fits(value, _DEFAULTS[name]):
                raise _malformed(f"{path}.{name}", f"{value!r} is not a value for it")
        if kind == LayerKind.DROPOUT.name and "rate" not in values:
            raise _malformed(f"{path}.rate", "is missing; a DROPOUT layer has one, 0 to below 1")
        inputs = tuple(values.pop("inputs", ()))
        return cls(kind=LayerKind[kind], inputs=inputs, **values)


_DEFAULTS: Mapping[str, Any] = {
    "kernel": 0,
    "out_channels": 0,
    "stride": 0,
    "padding": 0,
    "groups": 1,
    "bias": None,
    "rate": 0.0,
    "inputs": (),
}


@dataclass(frozen=True)
class Network:
    """A classification network without weights: layers in topological order.

    The server checks whether the layers fit each other and the data set. `input_shape` is
    channels, height, width.
    """

    input_shape: tuple[int, int, int]
    classes: int
    layers: Sequence[Layer]

    def __post_init__(self) -> None:
        """Keep the layers as a tuple, so that networks compare and hash by value."""
        object.__setattr__(self, "layers", tuple(self.layers))

    @classmethod
    def from_torch(cls, module: nn.Module, input_shape: tuple[int, int, int]) -> Network:
        """Return the layers of a torch module; needs `archpress-client[torch]`.

        `input_shape` is channels, height, width. Weights are left out; `Client.compress` takes the
        module itself, and its weights with it.

        Raises:
            InvalidRequestError: the module cannot be expressed; names the place in the module, the
                operation and what can be.
        """
        network: Network = torch_import().network_of(module, input_shape)
        return network

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data; inputs are left out where they are the previous layer."""
        records = [layer.to_json() for layer in self.layers]
        for index, record in enumerate(records):
            if record.get("inputs") == [index - 1]:
                del record["inputs"]
        return {
            "input_shape": list(self.input_shape),
            "classes": self.classes,
            "layers": records,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Network:
        """Inverse of `to_json`.

        Raises:
            InvalidRequestError: naming the first part that is not as `to_json` writes it.
        """
        if not isinstance(record, Mapping):
            raise _malformed("network", "must be an object with input_shape, classes and layers")
        shape, classes, layers = (record.get(key) for key in ("input_shape", "classes", "layers"))
        if not (_fits(shape, ()) and isinstance(shape, Sequence) and len(shape) == 3):
            raise _malformed("input_shape", f"is {shape!r}, must be [channels, height, width]")
        if not (_fits(classes, 0) and isinstance(classes, int)):
            raise _malformed("classes", f"is {classes!r}, must be a whole number")
        if not isinstance(layers, list):
            raise _malformed("layers", "must be a list of layers")
        parsed = [Layer.from_json(layer, f"layers[{i}]") for i, layer in enumerate(layers)]
        return cls((shape[0], shape[1], shape[2]), classes, parsed)

    def save(self, path: str | Path) -> None:
        """Write the network as a JSON file."""
        Path(path).write_text(json.dumps(self.to_json(), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Network:
        """Read a JSON file that `save` wrote."""
        try:
            record = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise _malformed(str(path), f"is no JSON file: {error}") from error
        return cls.from_json(record)


def is_torch_module(network: object) -> TypeIs[nn.Module]:
    """Return whether a network is a torch module; torch is not imported for that."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(network, torch.nn.Module)


def torch_import() -> ModuleType:
    """Return the part of the package that needs torch.

    Raises:
        UnsupportedError: torch, or what writes its ONNX files, is not installed.
    """
    try:
        return importlib.import_module("archpress_client.torch_import")
    except ImportError as error:
        raise UnsupportedError(
            f"reading a torch module needs {error.name}: pip install 'archpress-client[torch]'"
        ) from error


def _fits(value: object, default: object) -> bool:
    """Return whether a JSON value has the type of the attribute with this default."""
    if default is None:
        return value is None or isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if isinstance(default, tuple):
        return isinstance(value, list | tuple) and all(_fits(item, 0) for item in value)
    return isinstance(value, int) or (isinstance(default, float) and isinstance(value, float))


def _malformed(field: str, description: str) -> InvalidRequestError:
    return InvalidRequestError.of(
        [FieldViolation(field, description)], reason="INVALID_ARCHITECTURE"
    )
