"""ONNX files for tests: written by torch's exporter, by ours, or node by node."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

SHAPE = (3, 8, 8)
CLASSES = 4


def exported(module: nn.Module, shape: tuple[int, ...] = SHAPE, *, dynamic: bool = True) -> bytes:
    """Return a module as torch writes it; with `dynamic` for any number of images."""
    with warnings.catch_warnings(), tempfile.NamedTemporaryFile() as file:
        # The exporter that needs no further package; files by it are what people have.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            (torch.zeros(1, *shape),),
            file.name,
            dynamo=False,
            opset_version=17,
            input_names=["x"],
            dynamic_axes={"x": {0: "batch"}} if dynamic else None,
        )
        return Path(file.name).read_bytes()


def written(
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, NDArray[Any]],
    *,
    shape: Sequence[int | str] = ("batch", *SHAPE),
    opset: int = 17,
) -> onnx.ModelProto:
    """Return a model of these nodes from `x` to `y`."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def numbers(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Return random float32 numbers."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def plain() -> onnx.ModelProto:
    """Return a small model: a convolution, a rectifier, a mean, a linear layer."""
    return written(
        [
            helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["r"], name="relu"),
            helper.make_node("GlobalAveragePool", ["r"], ["p"], name="pool"),
            helper.make_node("Flatten", ["p"], ["f"], name="flat"),
            helper.make_node("Gemm", ["f", "v", "a"], ["y"], name="linear", transB=1),
        ],
        {"w": numbers(5, 3, 3, 3), "b": numbers(5), "v": numbers(CLASSES, 5), "a": numbers(4)},
    )
