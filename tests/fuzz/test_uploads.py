"""Models that nobody should send: each is read or refused with a reason, whatever is wrong."""

from __future__ import annotations

import random
from typing import cast

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archpress_server.compress.types import RequestError
from archpress_server.onnx_import.read import read_onnx
from archpress_trainer.space.costs import count
from tests.fuzz.messages import NOISE, damaged
from tests.server.onnx_import.files import exported, plain
from tests.server.onnx_import.test_read import MIDDLES, Spelled

MANY = settings.get_current_profile_name() == "fuzz"
EXAMPLES = settings(max_examples=3000 if MANY else 60)
OPS = [
    *("Add", "Sub", "Mul", "Div", "Sum", "Concat", "Conv", "Gemm", "MatMul", "BatchNormalization"),
    *("Relu", "LeakyRelu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Erf", "Gelu"),
    *("MaxPool", "AveragePool", "GlobalAveragePool", "ReduceMean", "Dropout", "Softmax"),
    *("Flatten", "Reshape", "Shape", "Gather", "Squeeze", "Unsqueeze", "Cast", "Identity"),
    *("Constant", "If", "Loop", "Scan", "Nothing"),
]
ATTRIBUTE_TYPES = list(onnx.AttributeProto.AttributeType.values())
MODELS = {"plain": plain().SerializeToString()} | {
    name: exported(Spelled(MIDDLES[name][0])) for name in ("view", "silu of gelu", "hard swish")
}


def read(content: bytes) -> None:
    try:
        imported = read_onnx(content)
    except RequestError as error:
        if not error.violations[0].description:
            raise
        return
    weights = sum(array.nbytes for layer in imported.weights for array in layer.values())
    assert weights <= 2 * len(content)
    assert count(imported.architecture).params * 4 <= 2 * len(content)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kind", ["noise", "damaged"])
def test_any_model_is_read_or_refused(name: str, kind: str) -> None:
    content = MODELS[name]
    contents = {"noise": NOISE, "damaged": damaged(content)}[kind]

    @EXAMPLES
    @given(contents)
    def check(changed: bytes) -> None:
        read(changed)

    check()


@pytest.mark.parametrize("name", MODELS)
def test_any_rewired_graph_is_read_or_refused(name: str) -> None:
    original = onnx.load_from_string(MODELS[name])

    @EXAMPLES
    @given(st.integers(0, 2**32), st.integers(1, 6))
    def check(seed: int, changes: int) -> None:
        draw = random.Random(seed)
        model = onnx.ModelProto()
        model.CopyFrom(original)
        for _ in range(changes):
            rewire(model.graph, draw)
        read(model.SerializeToString())

    check()


def rewire(graph: onnx.GraphProto, draw: random.Random) -> None:
    """Change one thing that keeps the file well formed."""
    names = [
        "x",
        "",
        *(tensor.name for tensor in graph.initializer),
        *(name for node in graph.node for name in node.output),
    ]
    node = draw.choice(graph.node)
    match draw.randrange(7):
        case 0:
            node.op_type = draw.choice(OPS)
        case 1 if node.input:
            node.input[draw.randrange(len(node.input))] = draw.choice(names)
        case 2:
            node.input.append(draw.choice(names))
        case 3 if node.input:
            del node.input[-1]
        case 4 if node.attribute:
            attribute = draw.choice(node.attribute)
            attribute.i = draw.choice([-1, 0, 1, 2, 3, 2**31, -(2**63)])
            attribute.ints[:] = [draw.randrange(-2, 40) for _ in range(draw.randrange(5))]
            attribute.f = draw.choice([0.0, -1.0, float("nan"), float("inf"), 1e30])
            attribute.type = cast("onnx.AttributeProto.AttributeType", draw.choice(ATTRIBUTE_TYPES))
        case 5 if graph.initializer:
            tensor = draw.choice(graph.initializer)
            dims = list(tensor.dims)
            draw.shuffle(dims)
            tensor.dims[:] = dims
        case _:
            graph.output[0].name = draw.choice(names)
