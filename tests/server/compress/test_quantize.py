"""Quantization keeps what a network computes, for every kind of layer, and says what it costs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from archpress_server.compress.certify import certify, run_model
from archpress_server.compress.export import INPUT_NAME, OUTPUT_NAME, to_onnx
from archpress_server.compress.quantize import (
    CALIBRATION_IMAGES,
    TOLERATED_LOSS,
    certify_quantized,
    quantization_warnings,
    quantize,
)
from archpress_server.compress.types import Certificate, QuantizedModel
from archpress_trainer.data.registry import DataSources
from archpress_trainer.space.build import Network, build
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layer import Layer
from archpress_trainer.space.layers import (
    batch_norm,
    conv,
    global_average_pool,
    linear,
    max_pool,
    relu,
)
from archpress_trainer.space.vocab import LayerKind
from archpress_trainer.space.widths import SizeBudget
from archpress_trainer.training.device import Compute
from archpress_trainer.training.loop import train
from archpress_trainer.training.recipe import Recipe

NET = Architecture(
    (1, 12, 12),
    4,
    (conv(32, 3), batch_norm(), relu(), max_pool(), conv(48, 3), relu(), linear(4)),
)
RECIPE = Recipe("short", 4, batch_size=32, learning_rate=0.05)


@pytest.fixture(scope="module")
def trained(tiny_sources: DataSources, cpu: Compute) -> Network:
    generator = torch.Generator().manual_seed(0)
    network = build(NET, generator)
    train(network, tiny_sources.load("tiny").split(), RECIPE, generator, cpu)
    return network.eval()


@pytest.fixture(scope="module")
def both(trained: Network, tiny_sources: DataSources) -> tuple[bytes, bytes]:
    """The float model and the quantized one."""
    data = tiny_sources.load("tiny").split()
    model = to_onnx(trained, data.normalisation)
    return model, quantize(model, NET, data.train)


def weight_types(model: bytes) -> set[int]:
    graph = onnx.load_from_string(model).graph
    return {t.data_type for t in graph.initializer if np.prod(t.dims) > 200}


def test_a_quantized_model_is_small_and_agrees(
    both: tuple[bytes, bytes], tiny_sources: DataSources
) -> None:
    dataset = tiny_sources.load("tiny")
    found = certify_quantized(
        both[1],
        both[0],
        NET,
        dataset.test(),
        dataset.split().train,
        threads=1,
    )
    assert len(both[1]) == found.size_bytes < len(both[0]) / 2
    assert found.argmax_agreement > 0.97
    assert found.accuracy_lower <= found.accuracy <= found.accuracy_upper
    assert (found.test_images, found.calibration_images) == (200, 880)
    assert found.latency.median_seconds > 0
    assert weight_types(both[0]) == {onnx.TensorProto.FLOAT}
    assert weight_types(both[1]) == {onnx.TensorProto.INT8}


def test_input_and_output_stay(both: tuple[bytes, bytes]) -> None:
    graph = onnx.load_from_string(both[1]).graph
    assert [value.name for value in graph.input] == [INPUT_NAME]
    assert [value.name for value in graph.output] == [OUTPUT_NAME]
    for value in (*graph.input, *graph.output):
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        assert value.type.tensor_type.shape.dim[0].dim_param


def test_only_the_first_training_images_count(
    both: tuple[bytes, bytes], tiny_sources: DataSources
) -> None:
    train_images = tiny_sources.load("tiny").split().train
    assert len(train_images) <= CALIBRATION_IMAGES
    assert quantize(both[0], NET, train_images) == both[1]
    assert quantize(both[0], NET, train_images.subset(3)) != both[1]


SINGLE_INPUT = [
    Layer(kind)
    for kind in LayerKind
    if kind
    not in (
        LayerKind.CONVOLUTION,
        LayerKind.LINEAR,
        LayerKind.ADD,
        LayerKind.CONCAT,
        LayerKind.MAX_POOL,
        LayerKind.AVERAGE_POOL,
        LayerKind.GLOBAL_AVERAGE_POOL,
    )
]
WINDOWED = [
    max_pool(),
    Layer(LayerKind.AVERAGE_POOL, kernel=3, stride=2, padding=1),
    conv(8, 3, groups=8),
    Layer(LayerKind.ADD, inputs=(0, 1)),
    Layer(LayerKind.CONCAT, inputs=(0, 1)),
]


@pytest.mark.parametrize("layer", [*SINGLE_INPUT, *WINDOWED], ids=lambda layer: layer.kind.name)
def test_every_kind_of_layer_can_be_quantized(layer: Layer, tiny_sources: DataSources) -> None:
    data = tiny_sources.load("tiny").split()
    layers = (conv(8, 3), relu(), layer, conv(8, 1, padding=0), global_average_pool(), linear(4))
    architecture = Architecture((1, 12, 12), 4, layers)
    network = build(architecture, torch.Generator().manual_seed(0)).eval()
    model = to_onnx(network, data.normalisation)
    images = data.validation
    exact = run_model(model, architecture, images, 1)
    int8 = quantize(model, architecture, data.train.subset(100))
    rounded = run_model(int8, architecture, images, 1)
    assert np.abs(rounded - exact).max() < 0.15 * np.abs(exact).max()


@pytest.fixture
def measured(
    both: tuple[bytes, bytes], trained: Network, tiny_sources: DataSources
) -> tuple[QuantizedModel, Certificate]:
    dataset = tiny_sources.load("tiny")
    data, test = dataset.split(), dataset.test()
    certificate = certify(
        both[0], trained, both[0], test, data.normalisation, SizeBudget(), threads=1
    )
    int8 = certify_quantized(both[1], both[0], NET, test, data.train, threads=1)
    # Times of so small a net are of no use here.
    fast = replace(certificate.latency, median_seconds=certificate.latency.median_seconds / 2)
    return replace(int8, latency=fast, accuracy=certificate.accuracy), certificate


def test_a_good_quantization_goes_without_a_warning(
    measured: tuple[QuantizedModel, Certificate],
) -> None:
    assert quantization_warnings(*measured) == []
    int8, certificate = measured
    better = replace(int8, accuracy=certificate.accuracy + 0.1)
    assert quantization_warnings(better, certificate) == []


def test_losses_are_told(measured: tuple[QuantizedModel, Certificate]) -> None:
    int8, certificate = measured
    worse = replace(
        int8,
        accuracy=certificate.accuracy - 2 * TOLERATED_LOSS,
        latency=certificate.latency,
        size_bytes=certificate.size_bytes,
    )
    texts = quantization_warnings(worse, certificate)
    assert len(texts) == 3
    assert "loses 0.0100 of test accuracy" in texts[0]
    assert "not faster" in texts[1]
    assert "not smaller" in texts[2]
