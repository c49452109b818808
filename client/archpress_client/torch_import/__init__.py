"""Reads a `torch.nn.Module`: its layers, and its weights as an ONNX file; needs `[torch]`."""

from __future__ import annotations

from torch import nn

from archpress_client._network import Network
from archpress_client.torch_import import translate
from archpress_client.torch_import.onnx_file import onnx_bytes
from archpress_client.torch_import.trace import trace

__all__ = ["network_of", "onnx_bytes"]


def network_of(module: nn.Module, input_shape: tuple[int, int, int]) -> Network:
    """Return the layers of a module for images of channels, height, width.

    Raises:
        InvalidRequestError: the module cannot be expressed; says where and why.
    """
    return translate.network_of(trace(module, input_shape), input_shape)
