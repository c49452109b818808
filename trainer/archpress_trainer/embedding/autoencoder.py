"""The default model: a 1-D CNN encoder and decoder over categorical fields.

Residual 1-D convolutions as in the paper (section 8); instead of integers and squared error it
reads one-hot fields with derived log costs and writes class probabilities. The embedding is
normalised to unit variance per dimension and blurred while training, so that its scale is known
and small steps mean small changes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from archpress_trainer.embedding.codec import DERIVED

_WIDTHS = (96, 128, 192)
_LONGEST_WHOLE = 64
"""Longest sequence that is read column by column; longer ones are read by pairs of columns."""
_READER_WIDTH = 512


class Autoencoder(nn.Module):
    """Encoder `(batch, fields, length)` -> `(batch, dimensions)` and decoder back to logits.

    Args:
        sizes: number of classes of each field.
        length: columns of a sequence, a multiple of 8.
        features: how many the feature head and the reader say.
        dimensions: size of the embedding.
        blur: standard deviation of the noise on embeddings while training.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        length: int,
        features: int,
        *,
        dimensions: int = 128,
        blur: float = 0.1,
    ) -> None:
        """Build encoder, decoder, feature head and reader.

        The small feature head shapes the embedding by free facts while that is fitted; the reader
        is fitted afterwards (`fit_reader`) and says the features of a point as well as they can be.
        """
        super().__init__()
        self.sizes = tuple(sizes)
        self.length = length
        self.dimensions = dimensions
        self.blur = blur
        wide, middle, deep = _WIDTHS
        inputs = sum(sizes) + len(DERIVED)
        read: nn.Module = nn.Conv1d(inputs, wide, 3, padding=1)
        write: list[nn.Module] = [nn.Conv1d(wide, sum(sizes), 3, padding=1)]
        inner = length
        if length > _LONGEST_WHOLE:
            read = nn.Conv1d(inputs, wide, 4, stride=2, padding=1)
            unpair = nn.ConvTranspose1d(wide, wide, 4, stride=2, padding=1)
            write = [unpair, _Residual(wide), *write]
            inner = length // 2
        self.encoder = nn.Sequential(
            read,
            _Residual(wide),
            nn.Conv1d(wide, middle, 4, stride=2, padding=1),
            _Residual(middle),
            _Residual(middle),
            nn.Conv1d(middle, deep, 4, stride=2, padding=1),
            _Residual(deep),
            _Residual(deep),
            nn.Flatten(),
            nn.Linear(deep * inner // 4, dimensions),
            nn.BatchNorm1d(dimensions, affine=False),
        )
        self.decoder = nn.Sequential(
            nn.Linear(dimensions, deep * inner // 4),
            nn.Unflatten(1, (deep, inner // 4)),
            _Residual(deep),
            _Residual(deep),
            nn.ConvTranspose1d(deep, middle, 4, stride=2, padding=1),
            _Residual(middle),
            _Residual(middle),
            nn.ConvTranspose1d(middle, wide, 4, stride=2, padding=1),
            _Residual(wide),
            *write,
        )
        self.feature_head = nn.Sequential(
            nn.Linear(dimensions, 128), nn.ReLU(), nn.Linear(128, features)
        )
        self.reader = nn.Sequential(
            nn.Linear(dimensions, _READER_WIDTH),
            nn.SiLU(),
            nn.Linear(_READER_WIDTH, _READER_WIDTH),
            nn.SiLU(),
            nn.Linear(_READER_WIDTH, features),
        )

    def encode(self, classes: torch.Tensor, derived: torch.Tensor) -> torch.Tensor:
        """Return embeddings `(batch, dimensions)`.

        Args:
            classes: class numbers `(batch, fields, length)`.
            derived: derived numbers `(batch, 4, length)`.
        """
        hot = [
            functional.one_hot(classes[:, field].long(), size).transpose(1, 2)
            for field, size in enumerate(self.sizes)
        ]
        inputs = torch.cat([*(h.to(derived.dtype) for h in hot), derived], dim=1)
        embedding: torch.Tensor = self.encoder(inputs)
        return embedding

    def decode(self, embedding: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the logits of each field, `(batch, classes of the field, length)`."""
        logits: torch.Tensor = self.decoder(embedding)
        return torch.split(logits, list(self.sizes), dim=1)

    def forward(
        self, classes: torch.Tensor, derived: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...], torch.Tensor]:
        """Return embeddings, and field logits and features from their blurred copies."""
        embedding = self.encode(classes, derived)
        noise = torch.randn(embedding.shape, generator=generator, device=embedding.device)
        blurred = embedding + self.blur * noise
        return embedding, self.decode(blurred), self.feature_head(blurred)


class _Residual(nn.Module):
    """Convolution, batch norm and rectifier added to the input (paper, section 8)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.norm(self.convolution(values))) + values


def reconstruction_loss(logits: Sequence[torch.Tensor], classes: torch.Tensor) -> torch.Tensor:
    """Return the mean over sequences of the cross-entropy summed over fields and layers.

    Columns behind the first end do not count: they hold nothing.
    """
    counted = torch.ones_like(classes[:, 0], dtype=torch.float32)
    counted[:, 1:] = (classes[:, 0, :-1] != 0).float()
    total = torch.zeros((), device=classes.device)
    for field, values in enumerate(logits):
        losses = functional.cross_entropy(
            values.float(), classes[:, field].long(), reduction="none"
        )
        total = total + (losses * counted).sum(dim=1).mean()
    return total


def fields_reconstructed(logits: Sequence[torch.Tensor], classes: torch.Tensor) -> torch.Tensor:
    """Return whether the likeliest classes of a field are all right, up to the end.

    Returns:
        Booleans of shape `(fields, batch)`.
    """
    counted = torch.ones_like(classes[:, 0], dtype=torch.bool)
    counted[:, 1:] = classes[:, 0, :-1] != 0
    return torch.stack(
        [
            ((values.argmax(dim=1) == classes[:, field]) | ~counted).all(dim=1)
            for field, values in enumerate(logits)
        ]
    )


def exactly_reconstructed(logits: Sequence[torch.Tensor], classes: torch.Tensor) -> torch.Tensor:
    """Return for each sequence whether every field comes back right, `(batch,)`."""
    return fields_reconstructed(logits, classes).all(dim=0)
