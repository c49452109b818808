"""Which convolutions have no batch normalisation, and the network in which they have one."""

from __future__ import annotations

from dataclasses import replace

from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layer import INPUT, Layer
from archpress_trainer.space.vocab import WEIGHTED, LayerKind, Limits


def bare_convolutions(architecture: Architecture) -> tuple[int, ...]:
    """Return the convolutions from which a way leads to other weights past no normalisation.

    Files for inference are full of them, since exporters fold normalisations into convolutions.
    One that gives the class scores is none.
    """
    bare = [False] * len(architecture.layers)
    for index in reversed(range(len(architecture.layers))):
        readers = [
            (reader, architecture.layers[reader]) for reader in architecture.consumers[index]
        ]
        bare[index] = any(
            layer.kind in WEIGHTED or (layer.kind is not LayerKind.BATCH_NORM and bare[reader])
            for reader, layer in readers
        )
    return tuple(
        index
        for index, layer in enumerate(architecture.layers)
        if layer.kind is LayerKind.CONVOLUTION and bare[index]
    )


def with_batch_norms(architecture: Architecture) -> Architecture:
    """Return the network with a batch normalisation behind every bare convolution.

    The convolution has no bias then. A network that would have too many layers comes back as it is.
    """
    bare = bare_convolutions(architecture)
    if not bare or len(architecture.layers) + len(bare) > Limits.LAYERS:
        return architecture
    layers: list[Layer] = []
    place = {INPUT: INPUT}
    for index, layer in enumerate(architecture.layers):
        inputs = tuple(place[source] for source in layer.inputs)
        layers.append(replace(layer, inputs=inputs, bias=None if index in bare else layer.bias))
        if index in bare:
            layers.append(Layer(LayerKind.BATCH_NORM))
        place[index] = len(layers) - 1
    return Architecture(architecture.input_shape, architecture.classes, tuple(layers))
