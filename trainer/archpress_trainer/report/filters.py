"""The outermost filters of encoder and decoder, the paper's Figure 4."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import nn

from archpress_trainer.embedding.codec import DERIVED, FIELDS
from archpress_trainer.embedding.default import DefaultEmbedding
from archpress_trainer.embedding.interface import Embedding
from archpress_trainer.embedding.paper import PaperEmbedding
from archpress_trainer.report.drawing import Panel, Section, draw
from archpress_trainer.report.facts import ReportFacts
from archpress_trainer.report.palette import RULE
from archpress_trainer.report.scales import Floats

_MOST_FILTERS = 100
_MOST_CHANNELS = 64
_TAP = (4, 3)
"""Fewest pixels of one weight, rows and columns; between filters and channels stay gaps."""

_SHARP = 480
"""Pixels that a picture needs in each direction not to look blurred on the page."""

_NEGATIVE, _POSITIVE = (31, 119, 190), (224, 112, 16)


@dataclass(frozen=True)
class FilterBank:
    """Weights `(filters, channels, taps)`; `groups` are names and sizes of runs of channels."""

    name: str
    title: str
    weights: Floats
    groups: Sequence[tuple[str, int]] = ()


def filters_section(facts: ReportFacts) -> Section:
    """Return the outermost filters of encoder and decoder."""
    title = "Filters of encoder and decoder"
    banks = filter_banks(facts.embedding)
    if not banks:
        return Section("filters", title, missing="Left out: this kind of embedding has no filters.")
    return Section(
        "filters",
        title,
        see="As in the paper's Figure 4: a row is a filter, a column an input channel with its "
        "taps along the layers. Blue is negative, orange positive, stronger is larger. At the "
        "ends that read and write the sequence, channels are named by their field.",
        distrust="Distrust a fit whose two outer banks look like even noise: it has not learned "
        "to tell layers apart. A pale column is a value that few nets have; the channels of the "
        "decoder's first layer have no order to see.",
        panels=tuple(_panel(bank) for bank in banks),
    )


def filter_banks(embedding: Embedding) -> list[FilterBank]:
    """Return the encoder's first, the decoder's first and the decoder's last convolution."""
    if isinstance(embedding, DefaultEmbedding):
        encoder, decoder = embedding.autoencoder.encoder, embedding.autoencoder.decoder
        fields = list(zip(embedding.codec.fields, embedding.codec.sizes, strict=True))
        reads = [*fields, ("costs", len(DERIVED))]
    elif isinstance(embedding, PaperEmbedding):
        encoder, decoder = embedding.model.encoder, embedding.model.decoder
        fields = [(name, 1) for name in FIELDS]
        reads = fields
    else:
        return []
    first, writing = _convolutions(encoder)[0], _convolutions(decoder)
    # The last one writes the fields: turned round, so that they are its columns.
    return [
        FilterBank("filters-encoder", "encoder, first layer", _weights(first), reads),
        FilterBank("filters-decoder", "decoder, first layer", _weights(writing[0])),
        FilterBank(
            "filters-decoder-last",
            "decoder, last layer",
            _weights(writing[-1]).transpose(1, 0, 2),
            fields,
        ),
    ]


def _convolutions(module: nn.Module) -> list[nn.Conv1d | nn.ConvTranspose1d]:
    return [m for m in module.modules() if isinstance(m, nn.Conv1d | nn.ConvTranspose1d)]


def _weights(layer: nn.Conv1d | nn.ConvTranspose1d) -> Floats:
    """Return weights `(outputs, inputs, taps)`; transposed convolutions keep them inputs first."""
    weight: torch.Tensor = layer.weight.detach().double()
    if isinstance(layer, nn.ConvTranspose1d):
        weight = weight.transpose(0, 1)
    return weight.numpy()


def _panel(bank: FilterBank) -> Panel:
    weights = bank.weights[:_MOST_FILTERS]
    if not bank.groups:
        weights = weights[:, :_MOST_CHANNELS]
    image = filter_image(weights)
    channel = image.shape[1] / weights.shape[1]

    def plot(axes: Axes) -> None:
        axes.imshow(image, interpolation="none", aspect="auto")
        edges = np.cumsum([0, *(size for _, size in bank.groups)]) * channel - 0.5
        for edge in edges[1:-1].tolist():
            axes.axvline(edge - 0.5, color=RULE, linewidth=1)
        middles = [(low + high) / 2 for low, high in pairwise(edges.tolist())]
        axes.set_xticks(middles, [name for name, _ in bank.groups], rotation=40, ha="left")
        axes.tick_params(axis="x", top=True, labeltop=True, bottom=False, labelbottom=False)
        axes.tick_params(length=0)
        axes.set_yticks([])
        axes.grid(visible=False)
        axes.set_xlabel(f"{weights.shape[1]} of {bank.weights.shape[1]} channels")
        axes.set_ylabel(f"{weights.shape[0]} of {bank.weights.shape[0]} filters")
        axes.set_title(bank.title, pad=12)

    return draw(bank.name, f"Filters: {bank.title}", plot, width=380, height=440)


def filter_image(weights: Floats) -> NDArray[np.uint8]:
    """Return the picture of filters: RGB and an opacity that grows with the size of the weight.

    Args:
        weights: `(filters, channels, taps)`.
    """
    filters, channels, taps = weights.shape
    scale = max(float(np.quantile(np.abs(weights), 0.99)), 1e-12)
    strength = np.clip(weights / scale, -1, 1)
    height = max(_TAP[0], -(-_SHARP // filters))
    width = max(_TAP[1], -(-_SHARP // (channels * taps)))
    row, column = height + -(-height // 8), taps * width + -(-width // 8)
    picture = np.zeros((filters, row, channels, column, 4), dtype=np.uint8)
    tall = np.repeat(strength, width, axis=2)[:, None, :, :]
    for color, part in ((_NEGATIVE, -tall), (_POSITIVE, tall)):
        opacity = np.clip(part, 0, 1) * 255
        inside = picture[:, :height, :, : taps * width]
        shown = np.broadcast_to(opacity > 0, inside.shape[:-1])
        inside[shown, :3] = color
        inside[..., 3] = np.maximum(inside[..., 3], opacity.astype(np.uint8))
    return picture.reshape(filters * row, channels * column, 4)
