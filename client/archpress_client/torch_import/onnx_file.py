"""The ONNX file of a module, which takes its weights to a server."""

from __future__ import annotations

import warnings

import torch

# The exporter imports it late, when the module has been traced already.
from onnxscript.optimizer import fold_constants, remove_unused_nodes
from torch import nn

from archpress_client.torch_import.trace import evaluating, example

_OPSET = 18


def onnx_bytes(module: nn.Module, input_shape: tuple[int, int, int]) -> bytes:
    """Return a module in evaluation mode as an ONNX file for any number of images.

    `input_shape` is channels, height, width.
    """
    with warnings.catch_warnings(), evaluating(module):
        # Of the exporter's own plans, not of the module.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            (example(module, input_shape),),
            opset_version=_OPSET,
            input_names=["images"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            # It would fold batch normalisations: another network than the caller's.
            optimize=False,
            verbose=False,
        )
    assert program is not None  # Since `dynamo`.
    fold_constants(program.model)
    remove_unused_nodes(program.model)
    content: bytes = program.model_proto.SerializeToString()
    return content
