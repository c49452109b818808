"""From a module to the graph of its operations, by torch.export."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.export import ExportedProgram

from archpress_client.torch_import.refusal import first_line, refused

BATCH = 2
"""One image would make the batch look like any side of length one."""


def trace(module: nn.Module, input_shape: tuple[int, int, int]) -> ExportedProgram:
    """Return the operations that a module does in evaluation; it stays as it is.

    Raises:
        InvalidRequestError: it takes more than images, does not run on images of `input_shape`
            (channels, height, width), or what it does depends on what it sees.
    """
    if not isinstance(module, nn.Module):
        raise refused(f"is a {type(module).__name__}, must be a torch.nn.Module")
    _check_arguments(module)
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise refused(f"input_shape is {input_shape}, must be channels, height, width")
    images = example(module, input_shape)
    sides = "x".join(str(side) for side in input_shape)
    with evaluating(module):
        try:
            with torch.no_grad():
                module(images)
        except Exception as error:
            raise refused(f"does not run on images of {sides}: {first_line(error)}") from error
        try:
            return torch.export.export(module, (images,))
        except Exception as error:
            raise refused(f"cannot be traced: {first_line(error)}") from error


def example(module: nn.Module, input_shape: tuple[int, int, int]) -> torch.Tensor:
    """Return images of zeros, `(batch, channels, height, width)`, as the module wants them."""
    parameter = next(module.parameters(), torch.zeros(0))
    shape = (BATCH, *input_shape)
    return torch.zeros(shape, device=parameter.device, dtype=parameter.dtype)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module and its parts in evaluation mode, and back."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def _check_arguments(module: nn.Module) -> None:
    required = [
        name
        for name, parameter in inspect.signature(module.forward).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    if len(required) > 1:
        raise refused(f"takes {', '.join(required)}, must take images only")
