"""`read_onnx`: from the bytes of a file to an architecture, its weights, what it does to images."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from archpress_server.onnx_import.errors import refused
from archpress_server.onnx_import.graph import Array, read_graph
from archpress_server.onnx_import.guard import guarded_graph
from archpress_server.onnx_import.translate import Translation
from archpress_server.onnx_import.weighted import Weights
from archpress_trainer.space.errors import ArchitectureError
from archpress_trainer.space.graph import Architecture


@dataclass(frozen=True)
class ImportedNetwork:
    """A network that a file holds; `weights[i]` are those of layer i, empty where it has none.

    `scaling` is what the file does to each channel of its images before the first layer: numbers
    to multiply by and numbers to add then, float64 `(channels,)`. None is nothing.
    """

    architecture: Architecture
    weights: tuple[Weights, ...] = field(repr=False)
    scaling: tuple[Array, Array] | None = None


def read_onnx(content: bytes) -> ImportedNetwork:
    """Return the network in an ONNX file.

    Raises:
        RequestError: the file is refused; the violation names the node, its operation and what
            can be expressed.
    """
    graph = read_graph(guarded_graph(content))
    sides = graph.input_dims[1:]
    if len(sides) != 3 or min(sides) < 1:
        raise refused(
            f"the input has the shape {list(graph.input_dims)[:8]}, must be batch, channels, "
            "height and width, the last three fixed"
        )
    channels, height, width = sides
    translation = Translation(graph, (channels, height, width))
    translation.run()
    try:
        architecture = Architecture(
            (channels, height, width), translation.output_shape[0], tuple(translation.layers)
        )
    except ArchitectureError as error:
        raise refused(str(error)) from None
    return ImportedNetwork(architecture, tuple(translation.weights), _scaling(translation))


def _scaling(translation: Translation) -> tuple[Array, Array] | None:
    scale, shift = translation.scale, translation.shift
    if scale is None or shift is None:
        return None
    if not scale.all() or not (np.isfinite(scale).all() and np.isfinite(shift).all()):
        raise refused("scales its images by zero or to numbers that are not finite")
    return scale, shift
