"""Files that are refused say which node and why; none of them is run or reaches another file."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from archpress_server.compress.types import RequestError
from archpress_server.onnx_import.guard import MAX_NODES
from archpress_server.onnx_import.read import read_onnx
from tests.server.onnx_import.files import numbers, plain

Change = Callable[[onnx.ModelProto], object]


def node(model: onnx.ModelProto, op: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == op)


def constant(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def external(model: onnx.ModelProto) -> None:
    tensor = constant(model, "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")


def external_in_a_node(model: onnx.ModelProto) -> None:
    external(model)
    tensor = model.graph.initializer.pop(0)
    model.graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], value=tensor))


def branching(model: onnx.ModelProto) -> None:
    graph = helper.make_graph([], "then", [], [])
    made = helper.make_node("If", ["x"], ["z"], name="if", then_branch=graph, else_branch=graph)
    model.graph.node.insert(0, made)


def replaced(name: str, array: NDArray[np.float32]) -> Change:
    def change(model: onnx.ModelProto) -> None:
        constant(model, name).CopyFrom(numpy_helper.from_array(array, name))

    return change


def attribute(op: str, **values: object) -> Change:
    def change(model: onnx.ModelProto) -> None:
        for name, value in values.items():
            kept = [a for a in node(model, op).attribute if a.name != name]
            del node(model, op).attribute[:]
            node(model, op).attribute.extend([*kept, helper.make_attribute(name, value)])

    return change


def renamed(op: str, other: str) -> Change:
    def change(model: onnx.ModelProto) -> None:
        node(model, op).op_type = other

    return change


def shared(model: onnx.ModelProto) -> None:
    """Use one large constant for two layers."""
    replaced("w", numbers(3, 3, 3, 3))(model)
    replaced("b", numbers(3))(model)
    replaced("v", numbers(4, 3))(model)
    node(model, "Relu").input[0] = "c2"
    again = helper.make_node("Conv", ["c", "w", "b"], ["c2"], name="again", pads=[1, 1, 1, 1])
    model.graph.node.insert(1, again)


def shared_beside_unused(model: onnx.ModelProto) -> None:
    """Use one constant twice, beside a large one that nobody reads."""
    shared(model)
    model.graph.initializer.append(numpy_helper.from_array(numbers(9, 9, 3, 3), "unused"))


def scaled_by_image(model: onnx.ModelProto) -> None:
    """Scale the images of a batch of three, each by its own number."""
    model.graph.initializer.append(numpy_helper.from_array(numbers(3, 1, 1, 1), "s"))
    model.graph.node.insert(0, helper.make_node("Mul", ["x", "s"], ["z"], name="scale"))
    node(model, "Conv").input[0] = "z"


def measured(model: onnx.ModelProto) -> None:
    """Give the shape of what the classifier says."""
    node(model, "Gemm").output[0] = "logits"
    model.graph.node.append(helper.make_node("Shape", ["logits"], ["y"], name="shape"))


def scaled_and_raw(model: onnx.ModelProto) -> None:
    """Scale the image for one of its two readers."""
    model.graph.initializer.append(numpy_helper.from_array(np.float32(2.0).reshape(1), "s"))
    scaled = helper.make_node("Mul", ["x", "s"], ["z"], name="scale")
    model.graph.node.insert(0, scaled)
    node(model, "Conv").input[0] = "z"
    model.graph.node.insert(
        2, helper.make_node("Conv", ["x", "w2", "b"], ["c2"], pads=[1, 1, 1, 1])
    )
    model.graph.node.insert(3, helper.make_node("Add", ["c", "c2"], ["sum"]))
    model.graph.initializer.append(numpy_helper.from_array(numbers(5, 3, 3, 3, seed=1), "w2"))
    node(model, "Relu").input[0] = "sum"


def scaled_behind_a_name(model: onnx.ModelProto) -> None:
    """Scale the image under another name, while its first name is read too."""
    scaled_and_raw(model)
    model.graph.node.insert(0, helper.make_node("Identity", ["x"], ["same"]))
    node(model, "Mul").input[0] = "same"


def softmax_over_the_batch(model: onnx.ModelProto) -> None:
    node(model, "Gemm").output[0] = "logits"
    model.graph.node.append(helper.make_node("Softmax", ["logits"], ["y"], name="soft", axis=0))


def bias_of_some_readers(model: onnx.ModelProto) -> None:
    """Add a bias to a layer's output under another name, while its first name is read too."""
    node(model, "Conv").input.pop()
    model.graph.node.insert(1, helper.make_node("Identity", ["c"], ["same"]))
    model.graph.initializer.append(numpy_helper.from_array(numbers(1, 5, 1, 1), "offset"))
    model.graph.node.insert(2, helper.make_node("Add", ["same", "offset"], ["biased"], name="bias"))
    model.graph.node.insert(3, helper.make_node("Add", ["biased", "c"], ["sum"]))
    node(model, "Relu").input[0] = "sum"


def hard_swish_of_another_slope(model: onnx.ModelProto) -> None:
    gate = helper.make_node("HardSigmoid", ["c"], ["gate"], name="gate", alpha=1 / 6, beta=0.1)
    model.graph.node.insert(1, gate)
    model.graph.node.insert(2, helper.make_node("Mul", ["c", "gate"], ["swish"]))
    node(model, "Relu").input[0] = "swish"


CASES: dict[str, tuple[Change, str]] = {
    "external data": (external, "'w' lies in another file"),
    "external data in a node": (external_in_a_node, "'w' lies in another file"),
    "control flow": (branching, "node 'if' (If): holds a graph"),
    "functions": (
        lambda m: m.functions.append(helper.make_function("x", "f", [], [], [], [])),
        "function of its own, 'f'",
    ),
    "other operators": (
        lambda m: setattr(node(m, "Relu"), "domain", "com.evil"),
        "node 'relu' (Relu): is of the domain 'com.evil'",
    ),
    "old": (lambda m: setattr(m.opset_import[0], "version", 6), "opset 6, must be 7 to"),
    "from the future": (lambda m: setattr(m.opset_import[0], "version", 999), "opset 999"),
    "no opset": (lambda m: m.opset_import.pop(), "opset 0"),
    "unknown operation": (renamed("Relu", "Selu"), "node 'relu' (Selu): cannot be expressed"),
    "bytes short": (
        lambda m: setattr(constant(m, "w"), "raw_data", b"1234"),
        "'w' holds 1 numbers for [5, 3, 3, 3]",
    ),
    "a huge claim": (
        lambda m: constant(m, "w").dims.append(2**40),
        f"holds 135 numbers for [5, 3, 3, 3, {2**40}]",
    ),
    "negative sides": (lambda m: constant(m, "w").dims.insert(0, -1), "has the shape [-1, 5"),
    "strings": (
        lambda m: setattr(constant(m, "w"), "data_type", TensorProto.STRING),
        "'w' is of type 8",
    ),
    "sparse": (lambda m: m.graph.sparse_initializer.add(), "sparse"),
    "two inputs": (
        lambda m: m.graph.input.append(helper.make_tensor_value_info("z", 1, [1])),
        "has 2 inputs",
    ),
    "a free side": (
        lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[2], "dim_param", "h"),
        "the last three fixed",
    ),
    "no such output": (lambda m: setattr(m.graph.output[0], "name", "z"), "no node makes"),
    "a cycle": (
        lambda m: node(m, "Conv").input.__setitem__(0, "r"),
        "reads 'r', which no node before it makes",
    ),
    "made twice": (lambda m: node(m, "Relu").output.__setitem__(0, "c"), "there already"),
    "weights missing": (lambda m: m.graph.initializer.pop(0), "reads 'w'"),
    "weights calculated": (
        lambda m: node(m, "Conv").input.__setitem__(1, "x"),
        "input 1 must be constant",
    ),
    "not finite": (replaced("w", np.full((5, 3, 3, 3), np.inf, np.float32)), "not finite"),
    "channels": (replaced("w", numbers(5, 2, 3, 3)), "for 3 channels"),
    "features": (replaced("v", numbers(4, 6)), "has weights for 6 numbers, gets 5"),
    "bias": (replaced("b", numbers(3)), "bias of [3] for 5"),
    "dilated": (attribute("Conv", dilations=[2, 2]), "node 'conv' (Conv): is dilated"),
    "stride of nothing": (attribute("Conv", strides=[0, 0]), "stride 0"),
    "a wide stride": (
        attribute("Conv", strides=[17, 17]),
        "layers[0].stride (CONVOLUTION): is 17, must be 1 to 16",
    ),
    "padded unevenly": (attribute("Conv", pads=[0, 1, 0, 1]), "pads is [0, 1, 0, 1]"),
    "groups": (attribute("Conv", group=0), "in 0 groups"),
    "not an integer": (attribute("Conv", group=1.5), "group is no integer"),
    "not a list": (attribute("Conv", pads=1), "pads is no list"),
    "scaled": (attribute("Gemm", alpha=2.0), "scales or transposes"),
    "flattened elsewhere": (attribute("Flatten", axis=2), "from axis 1"),
    "a scaled image that is read raw too": (scaled_and_raw, "which others read as it was"),
    "the same by another name": (scaled_behind_a_name, "which others read as it was"),
    "a softmax over the batch": (softmax_over_the_batch, "must be over the classes"),
    "a bias for some readers": (bias_of_some_readers, "which can be a bias only"),
    "another hard swish": (hard_swish_of_another_slope, "(HardSigmoid): cannot be expressed"),
    "shared weights": (shared, "node 'again' (Conv): shares its weights"),
    "shared beside unused ones": (shared_beside_unused, "(Conv): shares its weights"),
    "scaled by image": (scaled_by_image, "has numbers [3, 1, 1, 1], must be one for each of 3"),
    "a bias by image": (replaced("a", numbers(4, 1)), "has a bias of [4, 1] for 4 outputs"),
    "an output of no layer": (measured, "the output is not that of the last layer"),
    "no classifier": (
        lambda m: setattr(m.graph.output[0], "name", "r"),
        "the last layer must be GLOBAL_AVERAGE_POOL or LINEAR",
    ),
    "many nodes": (
        lambda m: m.graph.node.extend(
            [helper.make_node("Relu", ["c"], [f"u{i}"]) for i in range(MAX_NODES)]
        ),
        f"the limit max_onnx_nodes is {MAX_NODES}",
    ),
    "many inputs": (lambda m: node(m, "Relu").input.extend(["c"] * 2000), "more than 1024"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_bad_file_is_refused_with_its_reason(name: str) -> None:
    change, text = CASES[name]
    model = plain()
    change(model)
    with pytest.raises(RequestError) as caught:
        read_onnx(model.SerializeToString())
    assert text in caught.value.violations[0].description
    assert caught.value.violations[0].path == "data"


@pytest.mark.parametrize("content", [b"", b"\x00", b"not a model", bytes(range(256))])
def test_other_bytes_are_no_model(content: bytes) -> None:
    with pytest.raises(RequestError, match="is not an ONNX file"):
        read_onnx(content)


def test_what_can_be_expressed_is_told() -> None:
    model = plain()
    renamed("Relu", "Selu")(model)
    with pytest.raises(RequestError) as caught:
        read_onnx(model.SerializeToString())
    assert caught.value.metadata["node"] == "relu"
    assert caught.value.metadata["op"] == "Selu"
    assert "Conv" in caught.value.metadata["known"].split(", ")
