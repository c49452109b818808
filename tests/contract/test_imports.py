"""What the client reads in a module, the server reads in the module's file, with its weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from archpress_client import Network
from archpress_client._convert_network import network_to_proto
from archpress_client.torch_import import onnx_bytes
from archpress_server.onnx_import.network import imported_network
from archpress_server.onnx_import.read import read_onnx
from archpress_server.service.convert_network import architecture_from_proto
from archpress_trainer.space.build import build
from archpress_trainer.space.costs import count
from archpress_trainer.space.vocab import LayerKind
from tests.client.torch_import.modules import NETWORKS, SHAPE
from tests.norms import with_lived_norms


def made(name: str) -> nn.Module:
    """Return a network whose batch norms have statistics that matter."""
    return with_lived_norms(NETWORKS[name]())


@pytest.mark.parametrize("name", NETWORKS)
def test_costs_are_those_of_an_independent_counter(name: str) -> None:
    module = made(name)
    architecture = architecture_from_proto(network_to_proto(Network.from_torch(module, SHAPE)))
    costs = count(architecture)
    assert costs.params == sum(parameter.numel() for parameter in module.parameters())
    with FlopCounterMode(display=False) as counter:
        module(torch.zeros(1, *SHAPE))
    assert 2 * costs.macs == counter.get_total_flops()


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_give_the_same_shapes(name: str) -> None:
    module = made(name)
    architecture = architecture_from_proto(network_to_proto(Network.from_torch(module, SHAPE)))
    images = torch.rand(2, *SHAPE)
    assert build(architecture).eval()(images).shape == module(images).shape


@pytest.mark.parametrize("name", NETWORKS)
def test_the_file_holds_the_same_layers_and_the_same_weights(name: str) -> None:
    module = made(name)
    imported = read_onnx(onnx_bytes(module, SHAPE))
    architecture = architecture_from_proto(network_to_proto(Network.from_torch(module, SHAPE)))
    # An exported dropout is gone, and a convolution always has a bias, if of zeros.
    kinds = [layer.kind for layer in architecture.layers if layer.kind != LayerKind.DROPOUT]
    assert [layer.kind for layer in imported.architecture.layers] == kinds
    assert count(imported.architecture).macs == count(architecture).macs
    images = torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = module(images)
        if name == "adaptive":
            # Its log-softmax is left out.
            assert isinstance(module, nn.Sequential)
            expected = module[:-1](images)
        found = imported_network(imported)(images)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
