"""Files that real tools write are read: the same layers, the same costs, the same logits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn
from torch.nn import functional

from archpress_server.compress.export import to_onnx
from archpress_server.compress.types import RequestError
from archpress_server.onnx_import.network import imported_network, own_normalisation
from archpress_server.onnx_import.read import ImportedNetwork, read_onnx
from archpress_trainer.data.dataset import Normalisation
from archpress_trainer.space.build import build, count_params
from archpress_trainer.space.costs import count
from archpress_trainer.space.named import named
from archpress_trainer.space.vocab import LayerKind
from tests.norms import with_lived_norms
from tests.server.onnx_import.files import CLASSES, SHAPE, exported, numbers, plain, written


def logits_by_runtime(content: bytes, images: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return torch.from_numpy(session.run(None, {name: images.numpy()})[0])


def logits(imported: ImportedNetwork, images: torch.Tensor) -> torch.Tensor:
    own = own_normalisation(imported)
    if own is not None:
        mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (own.mean, own.std))
        images = ((images - mean) / std).float()
    with torch.no_grad():
        found: torch.Tensor = imported_network(imported)(images)
    return found


def assert_same(content: bytes, shape: tuple[int, ...] = SHAPE) -> ImportedNetwork:
    imported = read_onnx(content)
    images = torch.rand(6, *shape, generator=torch.Generator().manual_seed(1))
    expected = logits_by_runtime(content, images)
    torch.testing.assert_close(logits(imported, images), expected, rtol=1e-3, atol=1e-4)
    return imported


NAMES = ("conv-7", "resnet-20", "vgg-16-bn")


@pytest.mark.parametrize("name", NAMES)
def test_what_we_export_comes_back(name: str) -> None:
    architecture = named(name, (1, 28, 28) if name == "conv-7" else (3, 32, 32), 10)
    network = build(architecture, torch.Generator().manual_seed(0))
    with_lived_norms(network)
    normalisation = Normalisation((0.3,) * architecture.input_shape[0], (0.2,) * 3)
    normalisation = Normalisation(
        normalisation.mean, normalisation.std[: architecture.input_shape[0]]
    )
    content = to_onnx(network, normalisation)
    imported = assert_same(content, architecture.input_shape)
    before, after = count(architecture), count(imported.architecture)
    assert after.macs == before.macs
    assert after.deployed_params == before.deployed_params
    own = own_normalisation(imported)
    assert own is not None
    assert own.mean == pytest.approx(normalisation.mean, abs=1e-6)
    assert own.std == pytest.approx(normalisation.std, abs=1e-6)


class Spelled(nn.Module):
    """A small network whose end or middle is spelled by a function."""

    def __init__(self, middle: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.middle = middle
        self.linear = nn.Linear(8 * 4 * 4, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.norm(self.convolution(images))
        found: torch.Tensor = self.linear(self.middle(functional.max_pool2d(maps, 2)))
        return found


MIDDLES: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], LayerKind]] = {
    "view": (lambda x: functional.relu(x).view(x.size(0), -1), LayerKind.RELU),
    "view by size": (lambda x: torch.tanh(x).view(-1, 128), LayerKind.TANH),
    "flatten": (lambda x: functional.silu(x).flatten(1), LayerKind.SILU),
    "reshape": (lambda x: functional.gelu(x).reshape(x.shape[0], 128), LayerKind.GELU),
    "after": (lambda x: functional.relu6(x.flatten(1)), LayerKind.RELU6),
    "hard swish": (lambda x: functional.hardswish(x).flatten(1), LayerKind.HARD_SWISH),
    "leaky": (lambda x: functional.leaky_relu(x, 0.01).flatten(1), LayerKind.LEAKY_RELU),
    "sigmoid": (lambda x: torch.sigmoid(x).flatten(1), LayerKind.SIGMOID),
    "dropout": (
        lambda x: functional.relu(functional.dropout(x, 0.5, False)).flatten(1),
        LayerKind.RELU,
    ),
    "silu of gelu": (lambda x: functional.gelu(functional.silu(x)).flatten(1), LayerKind.GELU),
}


@pytest.mark.parametrize("name", MIDDLES)
@pytest.mark.parametrize("dynamic", [True, False])
def test_spellings_of_torch(name: str, dynamic: bool) -> None:
    middle, kind = MIDDLES[name]
    network = with_lived_norms(Spelled(middle))
    imported = (
        assert_same(exported(network, dynamic=dynamic))
        if dynamic
        else read_onnx(exported(network, dynamic=False))
    )
    assert kind in [layer.kind for layer in imported.architecture.layers]
    # The exporter folds the batch norm: 2 x 8 numbers become 8.
    assert count(imported.architecture).params == count_params(network) - 8


def test_an_adaptive_pool_is_read() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, CLASSES),
    )
    imported = assert_same(exported(network))
    assert imported.architecture.layers[1].kind is LayerKind.GLOBAL_AVERAGE_POOL


class _Joined(nn.Module):
    """Sums and concatenations of branches."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 1)
        self.branch = nn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.last = nn.Linear(16, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        left = self.first(images)
        both = torch.cat([left + self.branch(left).relu(), left], dim=1)
        found: torch.Tensor = self.last(both.mean(dim=(2, 3)))
        return found


def test_joins_and_groups_are_read() -> None:
    kinds = [layer.kind for layer in assert_same(exported(_Joined())).architecture.layers]
    assert LayerKind.ADD in kinds
    assert LayerKind.CONCAT in kinds


def test_a_matmul_with_its_bias_and_a_softmax() -> None:
    model = written(
        [
            helper.make_node("Sub", ["x", "mean"], ["centred"]),
            helper.make_node("Div", ["centred", "deviation"], ["scaled"]),
            helper.make_node("Conv", ["scaled", "w"], ["c"], auto_pad="SAME_UPPER"),
            helper.make_node("Add", ["c", "b"], ["d"]),
            helper.make_node("ReduceMean", ["d"], ["p"], axes=[2, 3], keepdims=0),
            helper.make_node("MatMul", ["p", "v"], ["m"]),
            helper.make_node("Add", ["a", "m"], ["s"]),
            helper.make_node("Softmax", ["s"], ["y"], axis=1),
        ],
        {
            "mean": numbers(1, 3, 1, 1),
            "deviation": np.abs(numbers(3, 1, 1)) + 0.5,
            "w": numbers(5, 3, 3, 3),
            "b": numbers(5, 1, 1),
            "v": numbers(5, CLASSES),
            "a": numbers(CLASSES),
        },
    )
    imported = read_onnx(model.SerializeToString())
    images = torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(1))
    probabilities = logits_by_runtime(model.SerializeToString(), images)
    found = logits(imported, images).softmax(dim=1)
    torch.testing.assert_close(found, probabilities, rtol=1e-3, atol=1e-5)
    assert [layer.bias for layer in imported.architecture.layers] == [True, None, True]


def test_a_batch_norm_with_another_epsilon() -> None:
    network = nn.Sequential(
        nn.BatchNorm2d(3, eps=1e-2), nn.Conv2d(3, 4, 8), nn.Flatten(), nn.Linear(4, CLASSES)
    )
    assert_same(exported(with_lived_norms(network)))


@pytest.mark.parametrize(("epsilon", "variance"), [(3e-13, 0.0), (0.0, 3e-13), (1e-9, 0.0)])
def test_a_batch_norm_of_a_channel_that_is_dead(epsilon: float, variance: float) -> None:
    model = plain()
    model.graph.node[1].CopyFrom(
        helper.make_node("BatchNormalization", ["c", "s", "o", "m", "n"], ["r"], epsilon=epsilon)
    )
    scale = np.array([1, 1, 1e-6, 1, 1], np.float32)
    spread = np.array([1, 0.5, variance, 2, 1], np.float32)
    arrays = {"s": scale, "o": numbers(5), "m": numbers(5), "n": spread}
    model.graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in arrays.items())
    assert_same(model.SerializeToString())


def test_a_file_for_a_batch_of_four() -> None:
    model = plain()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    model.graph.node[3].CopyFrom(helper.make_node("Reshape", ["p", "sides"], ["f"], name="view"))
    sides = np.array([4, 5], np.int64)
    model.graph.initializer.append(numpy_helper.from_array(sides, "sides"))
    assert read_onnx(model.SerializeToString()).architecture == (
        read_onnx(plain().SerializeToString()).architecture
    )
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    with pytest.raises(RequestError, match="reshapes to something else"):
        read_onnx(model.SerializeToString())


def test_nodes_that_the_output_does_not_need_do_not_matter() -> None:
    model = plain()
    model.graph.node.append(helper.make_node("FancyNewThing", ["r"], ["unused"]))
    assert read_onnx(model.SerializeToString()).architecture == (
        read_onnx(plain().SerializeToString()).architecture
    )


def test_constants_may_be_nodes() -> None:
    model = plain()
    tensor = model.graph.initializer.pop(0)
    model.graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], value=tensor))
    assert isinstance(model, onnx.ModelProto)
    assert_same(model.SerializeToString())
