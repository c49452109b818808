"""An imported network as torch's, for training others and for measuring it."""

from __future__ import annotations

import torch
from torch import nn

from archpress_server.onnx_import.read import ImportedNetwork
from archpress_trainer.data.dataset import Normalisation
from archpress_trainer.space.build import Network


def own_normalisation(imported: ImportedNetwork) -> Normalisation | None:
    """Return what the file itself does to images in [0, 1]; None where it does nothing."""
    if imported.scaling is None:
        return None
    scale, shift = imported.scaling
    return Normalisation(tuple((-shift / scale).tolist()), tuple((1 / scale).tolist()))


def imported_network(imported: ImportedNetwork) -> Network:
    """Return the network with its weights, on the CPU and in evaluation mode."""
    network = Network(imported.architecture)
    with torch.no_grad():
        for module, weights in zip(network.layers, imported.weights, strict=True):
            for name, array in weights.items():
                tensor = getattr(_holder(module), name)
                tensor.copy_(torch.tensor(array))
    return network.eval()


def _holder(module: nn.Module) -> nn.Module:
    """Return the module that has the weights, also behind a flattening."""
    return module[-1] if isinstance(module, nn.Sequential) else module
