"""From the operations of a traced module to layers, one after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from torch.export import ExportedProgram
from torch.fx import Node

from archpress_client._network import Layer, LayerKind, Network
from archpress_client.torch_import.memory import ALIASES, DROPOUTS, RESHAPES, Memory
from archpress_client.torch_import.operation import Operation
from archpress_client.torch_import.refusal import refused
from archpress_client.torch_import.trace import BATCH

_INPUT = -1
_ACTIVATIONS = {
    "relu": LayerKind.RELU,
    "relu6": LayerKind.RELU6,
    "sigmoid": LayerKind.SIGMOID,
    "tanh": LayerKind.TANH,
    "silu": LayerKind.SILU,
    "hardswish": LayerKind.HARD_SWISH,
}
_SAME = (*ALIASES, "clone", "lift_fresh_copy")
_POOLS = {"max_pool2d": LayerKind.MAX_POOL, "avg_pool2d": LayerKind.AVERAGE_POOL}


@dataclass(frozen=True)
class _Value:
    """The output of a layer, or the input, and its shape in the network, without the batch."""

    source: int
    shape: tuple[int, ...]


def network_of(program: ExportedProgram, input_shape: tuple[int, int, int]) -> Network:
    """Return the layers of a traced module.

    Raises:
        InvalidRequestError: an operation cannot be expressed; names its place in the module, the
            operation and, where it is an unknown one, those that are known.
    """
    return _Translation(program, input_shape).run()


class _Translation:
    """Layers so far, and which value of the graph each of them made."""

    def __init__(self, program: ExportedProgram, input_shape: tuple[int, int, int]) -> None:
        self._program = program
        self._input_shape = input_shape
        self._layers: list[Layer] = []
        self._values: dict[Node, _Value] = {}
        signature = program.graph_signature
        self._weights = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        self._names = {**self._weights, **signature.inputs_to_lifted_tensor_constants}
        self._images = signature.user_inputs
        self._memory = Memory(program.graph)
        self._used: set[str] = set()
        self._rules = self._table()

    def run(self) -> Network:
        for node in self._program.graph.nodes:
            if node.op == "placeholder" and node.name in self._images:
                self._values[node] = _Value(_INPUT, self._input_shape)
            elif node.op == "call_function":
                self._translate(node)
            elif node.op == "output":
                return self._finish(node)
        raise refused("has no output")

    def _translate(self, node: Node) -> None:
        operation = Operation(node)
        kind = operation.kind.removesuffix("_")
        rule = self._rules.get(kind)
        if rule is None:
            known = ", ".join(sorted(self._rules))
            raise operation.refused(f"cannot be expressed; known are {known}")
        value = rule(operation)
        shape, made = operation.shape, (BATCH, *value.shape)
        if shape[:1] != made[:1] or prod(shape) != prod(made):
            raise operation.refused(f"makes {list(shape)}, must be {list(made)}")
        if operation.in_place:
            stale = self._memory.stale(node)
            if stale is not None:
                raise operation.refused(f"changes {stale.name} in place too, which is read later")
        # Whoever reads a changed tensor later reads what it has become.
        self._values[self._memory.tensor(node)] = value

    def _finish(self, node: Node) -> Network:
        results = node.args[0]
        if not isinstance(results, tuple | list) or len(results) != 1 or results[0] is None:
            raise refused(f"returns {len(node.all_input_nodes)} values, must return the logits")
        (logits,) = node.all_input_nodes
        value = self._values.get(self._memory.tensor(logits))
        if value is None or not self._layers or value.source != len(self._layers) - 1:
            raise refused("does not return what its last layer made")
        shape = tuple(logits.meta["val"].shape)
        if len(shape) != 2:
            raise refused(f"returns {list(shape[1:])} for each image, must be one number per class")
        return Network(self._input_shape, shape[1], self._layers)

    def _table(self) -> Mapping[str, Callable[[Operation], _Value]]:
        return {
            **dict.fromkeys(_ACTIVATIONS, self._activation),
            **dict.fromkeys(_SAME, lambda operation: self._read(operation)),
            **dict.fromkeys(DROPOUTS, self._dropout),
            **dict.fromkeys(_POOLS, self._pool),
            **dict.fromkeys(RESHAPES, self._flatten),
            **dict.fromkeys(("softmax", "log_softmax"), self._softmax),
            "adaptive_avg_pool2d": self._adaptive_pool,
            "add": self._add,
            "batch_norm": self._batch_norm,
            "cat": self._concat,
            "clamp": self._clamp,
            "conv2d": self._convolution,
            "gelu": self._exact_gelu,
            "hardtanh": self._hard_tanh,
            "leaky_relu": self._leaky,
            "linear": self._linear,
            "mean": self._mean,
        }

    def _read(self, operation: Operation) -> _Value:
        """Return the first argument."""
        return self._value(operation, operation.first)

    def _value(self, operation: Operation, argument: object) -> _Value:
        what = argument
        if isinstance(argument, Node):
            value = self._values.get(self._memory.tensor(argument))
            if value is not None:
                return value
            what = self._names.get(argument.name, argument.name)
        raise operation.refused(f"reads {what}, which is no value that a layer made")

    def _map(self, operation: Operation) -> _Value:
        value = self._read(operation)
        if len(value.shape) != 3:
            raise operation.refused(f"reads a vector of {value.shape[0]}, needs maps")
        self._require_shape(operation, value.shape)
        return value

    def _require_shape(self, operation: Operation, made: tuple[int, ...]) -> None:
        """Refuse what was given another shape than the one that its layer made."""
        if operation.input_shape != made:
            read = list(operation.input_shape)
            raise operation.refused(f"reads {read}, where the layer before makes {list(made)}")

    def _put(self, layer: Layer, values: Sequence[_Value], shape: tuple[int, ...]) -> _Value:
        inputs = tuple(value.source for value in values)
        self._layers.append(replace(layer, inputs=inputs))
        return _Value(len(self._layers) - 1, shape)

    def _weight(self, operation: Operation, name: str) -> tuple[int, ...]:
        """Return the shape of a parameter that only this operation uses."""
        argument = operation.arguments[name]
        known = self._weights.get(argument.name) if isinstance(argument, Node) else None
        if known is None or not isinstance(argument, Node):
            raise operation.refused(f"its {name} is computed or missing, must be a parameter")
        if known in self._used:
            raise operation.refused(f"shares {known} with another layer")
        self._used.add(known)
        return tuple(argument.meta["val"].shape)

    def _has_bias(self, operation: Operation) -> bool:
        return operation.arguments["bias"] is not None and bool(self._weight(operation, "bias"))

    def _convolution(self, operation: Operation) -> _Value:
        value = self._read(operation)
        out_channels, _, height, width = self._weight(operation, "weight")
        if height != width:
            raise operation.refused(f"kernel is {height}x{width}, must be square")
        operation.require("dilation", (1, [1, 1]))
        stride, padding = operation.integer("stride"), self._padding(operation, height)
        groups, bias = int(operation.arguments["groups"]), self._has_bias(operation)
        if len(value.shape) == 1:
            if (height, groups) != (1, 1) or (stride, padding) != (1, 0):
                raise operation.refused(f"reads a vector of {value.shape[0]}, needs maps")
            self._require_shape(operation, (*value.shape, 1, 1))
            return self._put(Layer.linear(out_channels, bias=bias), [value], (out_channels,))
        self._require_shape(operation, value.shape)
        layer = Layer.conv(
            out_channels, height, stride=stride, padding=padding, groups=groups, bias=bias
        )
        return self._put(layer, [value], operation.shape[1:])

    def _padding(self, operation: Operation, kernel: int) -> int:
        padding = operation.arguments["padding"]
        if padding == "valid":
            return 0
        if padding == "same":
            if kernel % 2 == 0:
                raise operation.refused(f"padding 'same' of the kernel {kernel} is uneven")
            return kernel // 2
        return operation.integer("padding")

    def _batch_norm(self, operation: Operation) -> _Value:
        value = self._read(operation)
        operation.require("training", (False,))
        for name in ("weight", "bias", "running_mean", "running_var"):
            if self._weight(operation, name) != value.shape[:1]:
                raise operation.refused("normalises maps that were made a vector")
        return self._put(Layer.batch_norm(), [value], value.shape)

    def _linear(self, operation: Operation) -> _Value:
        value = self._read(operation)
        features = self._weight(operation, "weight")
        if len(operation.shape) != 2:
            raise operation.refused(f"reads maps of {list(value.shape)}; flatten them before")
        layer = Layer.linear(features[0], bias=self._has_bias(operation))
        return self._put(layer, [value], features[:1])

    def _activation(self, operation: Operation) -> _Value:
        return self._activate(operation, _ACTIVATIONS[operation.kind.removesuffix("_")])

    def _activate(self, operation: Operation, kind: LayerKind) -> _Value:
        value = self._read(operation)
        return self._put(Layer.activation(kind), [value], value.shape)

    def _exact_gelu(self, operation: Operation) -> _Value:
        operation.require("approximate", ("none",))
        return self._activate(operation, LayerKind.GELU)

    def _leaky(self, operation: Operation) -> _Value:
        operation.require("negative_slope", (0.01,))
        return self._activate(operation, LayerKind.LEAKY_RELU)

    def _hard_tanh(self, operation: Operation) -> _Value:
        operation.require("min_val", (0,))
        operation.require("max_val", (6,))
        return self._activate(operation, LayerKind.RELU6)

    def _clamp(self, operation: Operation) -> _Value:
        operation.require("min", (0,))
        operation.require("max", (6, None))
        limited = operation.arguments["max"] is not None
        return self._activate(operation, LayerKind.RELU6 if limited else LayerKind.RELU)

    def _dropout(self, operation: Operation) -> _Value:
        value = self._read(operation)
        operation.require("train", (False,))
        rate = round(float(operation.arguments["p"]), 6)
        if not 0 <= rate < 1:
            raise operation.refused(f"p is {rate:g}, must be at least 0 and below 1")
        return self._put(Layer.dropout(rate), [value], value.shape)

    def _pool(self, operation: Operation) -> _Value:
        value = self._map(operation)
        kernel = operation.integer("kernel_size")
        stride = operation.integer("stride") if operation.arguments["stride"] else kernel
        padding = operation.integer("padding")
        if operation.arguments.get("dilation") is not None:
            operation.require("dilation", (1, [1, 1]))
        if operation.kind == "avg_pool2d":
            operation.require("divisor_override", (None,))
            if padding and not operation.arguments["count_include_pad"]:
                raise operation.refused("count_include_pad is False, must be True")
        sides = [(side + 2 * padding - kernel) // stride + 1 for side in value.shape[1:]]
        if list(operation.shape[2:]) != sides:
            raise operation.refused("ceil_mode is True and adds to the output, must be False")
        if (kernel, stride, padding) == (1, 1, 0):
            return value
        make = Layer.max_pool if operation.kind == "max_pool2d" else Layer.average_pool
        layer = make(kernel, stride=stride, padding=padding)
        return self._put(layer, [value], operation.shape[1:])

    def _adaptive_pool(self, operation: Operation) -> _Value:
        value = self._map(operation)
        before, after = value.shape[1:], operation.shape[2:]
        if after == before:
            return value
        if set(after) == {1}:
            return self._global_pool(value)
        kernels = {big // small for big, small in zip(before, after, strict=True)}
        exact = all(big % small == 0 for big, small in zip(before, after, strict=True))
        if not exact or len(kernels) != 1:
            raise operation.refused(
                f"makes maps of {list(after)} from {list(before)}; must divide them evenly"
            )
        (kernel,) = kernels
        layer = Layer.average_pool(kernel, stride=kernel)
        return self._put(layer, [value], operation.shape[1:])

    def _mean(self, operation: Operation) -> _Value:
        value = self._map(operation)
        axes = operation.arguments.get("dim") or ()
        if sorted(axis % 4 for axis in axes) != [2, 3]:
            raise operation.refused(f"averages over the axes {list(axes)}, must be 2 and 3")
        return self._global_pool(value)

    def _global_pool(self, value: _Value) -> _Value:
        return self._put(Layer.global_average_pool(), [value], value.shape[:1])

    def _flatten(self, operation: Operation) -> _Value:
        """Return the value as it is: a linear layer flattens its input itself."""
        value = self._read(operation)
        sides = [side for side in operation.shape[1:] if side != 1] or [1]
        unchanged = operation.shape[1:] == value.shape
        if not unchanged and sides != [prod(value.shape)]:
            raise operation.refused(
                f"makes {list(operation.shape[1:])} of {list(value.shape)}, must be one vector"
            )
        return value

    def _softmax(self, operation: Operation) -> _Value:
        if any(user.op != "output" for user in operation.node.users):
            raise operation.refused("is known at the end only, where it is left out")
        operation.require("dim", (1, -1))
        return self._read(operation)

    def _add(self, operation: Operation) -> _Value:
        operation.require("alpha", (1,))
        values = [self._value(operation, operation.arguments[name]) for name in ("self", "other")]
        return self._join(operation, values, Layer.add())

    def _concat(self, operation: Operation) -> _Value:
        operation.require("dim", (1, -3))
        values = [self._value(operation, tensor) for tensor in operation.arguments["tensors"]]
        return self._join(operation, values, Layer.concat())

    def _join(self, operation: Operation, values: Sequence[_Value], layer: Layer) -> _Value:
        if len(values) == 1:
            return values[0]
        same = [value.shape if layer.kind is LayerKind.ADD else value.shape[1:] for value in values]
        if len(set(same)) != 1:
            shapes = " and ".join(str(list(value.shape)) for value in values)
            raise operation.refused(f"joins the shapes {shapes}")
        channels = values[0].shape[0]
        if layer.kind is LayerKind.CONCAT:
            flattened = len(operation.shape) == 2 and values[0].shape[1:] not in ((), (1, 1))
            if flattened:
                raise operation.refused("joins vectors that were maps")
            channels = sum(value.shape[0] for value in values)
        return self._put(layer, values, (channels, *values[0].shape[1:]))
