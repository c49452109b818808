"""Exported ONNX computes what the network computes, for every kind of layer."""

from __future__ import annotations

from itertools import islice
from random import Random

import numpy as np
import onnx
import pytest
import torch

from archpress_server.compress.export import INPUT_NAME, OPSET, to_onnx
from archpress_server.compress.latency import session
from archpress_server.compress.recount import recount
from archpress_trainer.data.dataset import Normalisation
from archpress_trainer.space.architecture_space import ArchitectureSpace
from archpress_trainer.space.build import Network, build
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layer import Layer
from archpress_trainer.space.layers import (
    add,
    average_pool,
    batch_norm,
    concat,
    conv,
    dropout,
    global_average_pool,
    linear,
    max_pool,
    relu,
)
from archpress_trainer.space.named import named
from archpress_trainer.space.practical_sampler import PracticalSampler
from archpress_trainer.space.sampling import draw
from archpress_trainer.space.vocab import ACTIVATIONS, LayerKind

NORMALISATION = Normalisation((0.29, 0.41), (0.35, 0.2))


def lively(architecture: Architecture, seed: int = 0) -> Network:
    """Return a network whose batch norms have seen data, so that folding matters."""
    generator = torch.Generator().manual_seed(seed)
    network = build(architecture, generator)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.uniform_(-0.5, 0.5, generator=generator)
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.uniform_(-0.5, 0.5, generator=generator)
                module.running_var.uniform_(0.5, 2.0, generator=generator)
            if isinstance(module, torch.nn.Linear):
                module.weight.normal_(0, 0.2, generator=generator)
    return network.eval()


def difference(network: Network, normalisation: Normalisation) -> float:
    """Return the largest difference between the network and its ONNX, on random images."""
    shape = network.architecture.input_shape
    pixels = np.random.default_rng(1).integers(0, 256, (7, *shape), dtype=np.uint8)
    with torch.no_grad():
        expected = network(normalisation(torch.from_numpy(pixels))).numpy()
    feed = {INPUT_NAME: pixels.astype(np.float32) / 255}
    found = session(to_onnx(network, normalisation), 1).run(None, feed)[0]
    return float(np.abs(found - expected).max())


EVERY_KIND = Architecture(
    (2, 13, 11),
    5,
    (
        conv(8, 3),
        batch_norm(),
        relu(),
        conv(8, 5, stride=2, groups=4),
        max_pool(3, stride=2, padding=1),
        conv(8, 1, inputs=(4,)),
        batch_norm(),
        conv(8, 3, inputs=(4,)),
        add(6, 7, 4),
        conv(4, 3),
        concat(8, 9),
        average_pool(2, stride=1, padding=1),
        batch_norm(),
        dropout(0.3),
        linear(9),
        batch_norm(),
        linear(5),
    ),
)


def test_every_structural_kind_agrees() -> None:
    network = lively(EVERY_KIND)
    assert difference(network, NORMALISATION) < 1e-4


@pytest.mark.parametrize("kind", sorted(ACTIVATIONS), ids=lambda kind: kind.name)
def test_every_activation_agrees(kind: LayerKind) -> None:
    layers = (conv(6, 3), Layer(kind), global_average_pool(), linear(3))
    assert difference(lively(Architecture((2, 8, 8), 3, layers)), NORMALISATION) < 1e-5


def test_vocabulary_is_covered() -> None:
    covered = {layer.kind for layer in EVERY_KIND.layers} | ACTIVATIONS
    assert covered | {LayerKind.GLOBAL_AVERAGE_POOL} == set(LayerKind)


def test_sampled_nets_agree_and_count_as_they_should() -> None:
    space = ArchitectureSpace((1, 28, 28), 10)
    normalisation = Normalisation((0.3,), (0.35,))
    for sample in islice(draw(PracticalSampler(space), Random(3)), 15):
        network = lively(sample.architecture)
        counted = recount(to_onnx(network, normalisation))
        assert counted.params == sample.costs.deployed_params
        assert counted.macs == sample.costs.macs
        assert difference(network, normalisation) < 1e-3


def test_residual_net_agrees_and_counts() -> None:
    architecture = named("resnet-20", (3, 32, 32), 10)
    normalisation = Normalisation((0.5, 0.4, 0.3), (0.2, 0.3, 0.25))
    network = lively(architecture)
    counted = recount(to_onnx(network, normalisation))
    assert (counted.params, counted.macs) == (
        count(architecture).deployed_params,
        count(architecture).macs,
    )
    assert difference(network, normalisation) < 1e-3


def test_batch_norms_are_folded_and_dropout_is_gone() -> None:
    architecture = named("conv-7", (1, 28, 28), 10)
    model = onnx.load_from_string(to_onnx(lively(architecture), Normalisation((0.3,), (0.3,))))
    operators = {node.op_type for node in model.graph.node}
    assert "BatchNormalization" not in operators
    assert "Dropout" not in operators
    assert model.opset_import[0].version == OPSET


def test_a_norm_that_cannot_fold_stays() -> None:
    layers = (conv(4, 3), relu(), batch_norm(), global_average_pool(), linear(3))
    network = lively(Architecture((2, 6, 6), 3, layers))
    model = onnx.load_from_string(to_onnx(network, NORMALISATION))
    assert [n.op_type for n in model.graph.node].count("BatchNormalization") == 1
    assert difference(network, NORMALISATION) < 1e-5
