"""The ONNX file of a module, which takes its weights to a server."""

from __future__ import annotations

import warnings

import torch

# The exporter imports it late, when the module has been traced already.
from onnxscript.optimizer import fold_constants, remove_unused_nodes
from torch import nn

from archpress_client.torch_import.refusal import first_line, refused
from archpress_client.torch_import.trace import evaluating, example

_OPSET = 18


def onnx_bytes(module: nn.Module, input_shape: tuple[int, int, int]) -> bytes:
    """Return a module in evaluation mode as an ONNX file for any number of images.

    `input_shape` is channels, height, width. The same layers and weights give the same bytes.

    Raises:
        InvalidRequestError: it cannot be written as ONNX.
    """
    with warnings.catch_warnings(), evaluating(module):
        # Of the exporter's own plans, not of the module.
        warnings.simplefilter("ignore")
        try:
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
        except Exception as error:
            raise refused(f"cannot be written as ONNX: {first_line(error)}") from error
    assert program is not None  # Since `dynamo`.
    fold_constants(program.model)
    remove_unused_nodes(program.model)
    return _without_notes(program)


def _without_notes(program: torch.onnx.ONNXProgram) -> bytes:
    """Return the file without what the exporter notes, among it paths and lines of the caller."""
    model = program.model_proto
    graph, functions = model.graph, model.functions
    nodes = [*graph.node, *(node for function in functions for node in function.node)]
    values = [*graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for part in (model, graph, *functions, *nodes, *values):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return model.SerializeToString(deterministic=True)
