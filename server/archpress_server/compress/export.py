"""Step 4, export: a trained network -> ONNX bytes, batch norms folded, evaluation mode.

The graph is written from the architecture itself, layer by layer, so that it holds just what the
architecture says. The file takes images as float32 in [0, 1] and normalises them inside.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from archpress_trainer.data.dataset import Normalisation
from archpress_trainer.space.build import Network
from archpress_trainer.space.costs import folds_into_input
from archpress_trainer.space.layer import INPUT, Layer
from archpress_trainer.space.vocab import LayerKind

OPSET = 18
IR_VERSION = 9
INPUT_NAME = "images"
OUTPUT_NAME = "logits"
NORMALISE_NODES = ("normalise.scaled", "normalise.out")
"""The first two nodes of every file."""


def to_onnx(network: Network, normalisation: Normalisation) -> bytes:
    """Return the network as an ONNX model.

    Its input `images` is float32 `(batch, channels, height, width)` in [0, 1], its output `logits`
    float32 `(batch, classes)`; the batch is free. Dropout is left out, each batch norm that can be
    is folded into the layer before it.
    """
    writer = _Writer(network)
    current = writer.normalise(normalisation)
    names = {INPUT: current}
    architecture = network.architecture
    for index, layer in enumerate(architecture.layers):
        inputs = [names[source] for source in layer.inputs]
        names[index] = writer.layer(index, layer, inputs)
    last = names[len(architecture.layers) - 1]
    writer.nodes.append(helper.make_node("Identity", [last], [OUTPUT_NAME], name="output"))
    graph = helper.make_graph(
        writer.nodes,
        "archpress",
        [
            helper.make_tensor_value_info(
                INPUT_NAME, TensorProto.FLOAT, ["batch", *architecture.input_shape]
            )
        ],
        [
            helper.make_tensor_value_info(
                OUTPUT_NAME, TensorProto.FLOAT, ["batch", architecture.classes]
            )
        ],
        writer.initializers,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="archpress"
    )
    model.ir_version = IR_VERSION
    helper.set_model_props(
        model,
        {
            "archpress.architecture_sha256": architecture.digest,
            "archpress.input": "float32 in [0, 1], channels first",
        },
    )
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


@dataclass
class _Writer:
    network: Network
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)

    def normalise(self, normalisation: Normalisation) -> str:
        """Write (image - mean) / std as one multiplication and one addition per channel."""
        std = np.array(normalisation.std, dtype=np.float64).reshape(1, -1, 1, 1)
        mean = np.array(normalisation.mean, dtype=np.float64).reshape(1, -1, 1, 1)
        scale = self._constant("normalise.scale", 1 / std)
        shift = self._constant("normalise.shift", -mean / std)
        multiplied, added = NORMALISE_NODES
        scaled = self._node("Mul", multiplied, [INPUT_NAME, scale])
        return self._node("Add", added, [scaled, shift])

    def layer(self, index: int, layer: Layer, inputs: list[str]) -> str:
        """Write one layer and return the name of its output."""
        name = f"layer{index}"
        match layer.kind:
            case LayerKind.CONVOLUTION:
                return self._convolution(index, layer, inputs, name)
            case LayerKind.LINEAR:
                return self._linear(index, inputs, name)
            case LayerKind.BATCH_NORM:
                if folds_into_input(self.network.architecture, index):
                    return inputs[0]
                return self._batch_norm(index, inputs, name)
            case LayerKind.DROPOUT:
                return inputs[0]
            case LayerKind.MAX_POOL:
                return self._node("MaxPool", name, inputs, **_window(layer))
            case LayerKind.AVERAGE_POOL:
                return self._node(
                    "AveragePool", name, inputs, count_include_pad=1, **_window(layer)
                )
            case LayerKind.GLOBAL_AVERAGE_POOL:
                pooled = self._node("GlobalAveragePool", f"{name}.pool", inputs)
                return self._node("Flatten", name, [pooled], axis=1)
            case LayerKind.ADD:
                return self._sum(name, inputs)
            case LayerKind.CONCAT:
                return self._node("Concat", name, inputs, axis=1)
            case LayerKind.RELU:
                return self._node("Relu", name, inputs)
            case LayerKind.SIGMOID:
                return self._node("Sigmoid", name, inputs)
            case LayerKind.TANH:
                return self._node("Tanh", name, inputs)
            case LayerKind.LEAKY_RELU:
                return self._node("LeakyRelu", name, inputs, alpha=0.01)
            case LayerKind.HARD_SWISH:
                return self._node("HardSwish", name, inputs)
            case LayerKind.SILU:
                gate = self._node("Sigmoid", f"{name}.gate", inputs)
                return self._node("Mul", name, [inputs[0], gate])
            case LayerKind.RELU6:
                low = self._scalar(f"{name}.low", 0.0)
                high = self._scalar(f"{name}.high", 6.0)
                return self._node("Clip", name, [inputs[0], low, high])
            case LayerKind.GELU:
                return self._gelu(name, inputs[0])

    def _convolution(self, index: int, layer: Layer, inputs: list[str], name: str) -> str:
        tensors = self._parameters(index, name)
        return self._node("Conv", name, [*inputs, *tensors], group=layer.groups, **_window(layer))

    def _linear(self, index: int, inputs: list[str], name: str) -> str:
        tensors = self._parameters(index, name)
        source = inputs[0]
        if len(self.network.architecture.in_shape(index)) == 3:
            source = self._node("Flatten", f"{name}.flat", [source], axis=1)
        return self._node("Gemm", name, [source, *tensors], transB=1)

    def _batch_norm(self, index: int, inputs: list[str], name: str) -> str:
        module = self._norm(index)
        tensors = [
            self._constant(f"{name}.{part}", _double(tensor))
            for part, tensor in (
                ("scale", module.weight),
                ("shift", module.bias),
                ("mean", module.running_mean),
                ("variance", module.running_var),
            )
        ]
        return self._node("BatchNormalization", name, [*inputs, *tensors], epsilon=module.eps)

    def _parameters(self, index: int, name: str) -> list[str]:
        weight, bias = self._folded(index)
        names = [self._constant(f"{name}.weight", weight)]
        if bias is not None:
            names.append(self._constant(f"{name}.bias", bias))
        return names

    def _folded(self, index: int) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """Return weight and bias, with the batch norm behind them folded in if it can be."""
        weight, bias = _weights(self.network.layers[index])
        weights = _double(weight)
        shift = None if bias is None else _double(bias)
        architecture = self.network.architecture
        readers = architecture.consumers[index]
        if len(readers) != 1 or not folds_into_input(architecture, readers[0]):
            return weights, shift
        module = self._norm(readers[0])
        scale = _double(module.weight) / np.sqrt(_double(module.running_var) + module.eps)
        shape = (-1, *[1] * (weights.ndim - 1))
        mean = _double(module.running_mean)
        folded = _double(module.bias) + ((0.0 if shift is None else shift) - mean) * scale
        return weights * scale.reshape(shape), folded

    def _sum(self, name: str, inputs: list[str]) -> str:
        current = inputs[0]
        for place, other in enumerate(inputs[1:], start=1):
            out = name if place == len(inputs) - 1 else f"{name}.{place}"
            current = self._node("Add", out, [current, other])
        return current

    def _gelu(self, name: str, source: str) -> str:
        root = self._scalar(f"{name}.root", 2**0.5)
        one, half = self._scalar(f"{name}.one", 1.0), self._scalar(f"{name}.half", 0.5)
        scaled = self._node("Div", f"{name}.scaled", [source, root])
        error = self._node("Erf", f"{name}.erf", [scaled])
        raised = self._node("Add", f"{name}.raised", [error, one])
        product = self._node("Mul", f"{name}.product", [source, raised])
        return self._node("Mul", name, [product, half])

    def _node(self, op: str, output: str, inputs: list[str], **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def _constant(self, name: str, values: NDArray[np.float64]) -> str:
        array = np.ascontiguousarray(values, dtype=np.float32)
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def _scalar(self, name: str, value: float) -> str:
        self.initializers.append(numpy_helper.from_array(np.array(value, np.float32), name))
        return name

    def _norm(self, index: int) -> nn.BatchNorm1d | nn.BatchNorm2d:
        module = self.network.layers[index]
        if not isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            raise TypeError(f"layer {index} is a {type(module).__name__}, not a batch norm")
        return module


def _weights(module: nn.Module) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return weight and bias of a convolution or linear layer, also behind a flattening."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            return part.weight, part.bias
    raise TypeError(f"{type(module).__name__} has no weight")


def _window(layer: Layer) -> dict[str, Any]:
    return {
        "kernel_shape": [layer.kernel] * 2,
        "strides": [layer.stride] * 2,
        "pads": [layer.padding] * 4,
    }


def _double(tensor: torch.Tensor | None) -> NDArray[np.float64]:
    if tensor is None:
        raise ValueError("the network has an untracked batch norm")
    return tensor.detach().cpu().double().numpy()
