"""The channels that flow through a list of layers, before it is a validated architecture."""

from __future__ import annotations

from archpress_trainer.space.layer import Layer
from archpress_trainer.space.vocab import WEIGHTED, LayerKind


class ChannelFlow:
    """The channels that each layer of a list passes on."""

    def __init__(self, first: int) -> None:
        """Start with the channels of the network's input."""
        self._channels = [first]

    def into(self, source: int) -> int:
        """Return the channels that flow out of layer `source`, or of the input for -1."""
        return self._channels[source + 1]

    def append(self, layer: Layer) -> None:
        """Take the next layer."""
        if layer.kind in WEIGHTED:
            self._channels.append(layer.out_channels)
        elif layer.kind is LayerKind.CONCAT:
            self._channels.append(sum(self.into(source) for source in layer.inputs))
        else:
            self._channels.append(self._channels[-1])
