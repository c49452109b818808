"""What a teacher says of the images of a batch: asked once for each image where images come back.

Flips alone make two images of each, so that after two epochs' worth of passes a teacher has said
all that it can, to all that learn from it; those passes cost as much as 20 epochs of a network of
a thirtieth of its multiply-accumulates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import nn

from archpress_trainer.data.dataset import TrainingData
from archpress_trainer.training.augment import flip
from archpress_trainer.training.device import Compute
from archpress_trainer.training.recipe import Recipe

_BLOCK = 16
"""How many places a teacher is asked for at once.

They are the same ones whoever asks first: a network computes other last bits in other batches.
"""


class Lesson(Protocol):
    """What a teacher says of the images of a batch."""

    def __call__(self, images: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """Return logits `(batch, classes)` for normalised images and their `Batch.places`."""
        ...

    def memory(self) -> Mapping[str, torch.Tensor]:
        """Return what is remembered, as tensors that may be overwritten."""
        ...


class Teacher:
    """A network that others learn from; what it said of images to one, it remembers for all."""

    def __init__(self, network: nn.Module, compute: Compute) -> None:
        """Ask a network that is on the device, in evaluation mode, and takes normalised images."""
        self._network = network
        self._compute = compute
        self._remembered: _Remembered | None = None

    def lesson(self, data: TrainingData, recipe: Recipe) -> Lesson:
        """Return what a training by a recipe learns from; `data` is on the device."""
        asked = _Asked(self._network, self._compute)
        changes = recipe.crop_padding or recipe.erase
        # On a GPU the pass is a part of the recorded step, which cannot ask for some images only.
        if changes or self._compute.device.type == "cuda":
            return asked
        if self._remembered is None or not self._remembered.is_of(data):
            self._remembered = _Remembered(asked, data)
        return self._remembered


class _Asked:
    """Asks for all images each time."""

    def __init__(self, network: nn.Module, compute: Compute) -> None:
        self._network = network
        self._compute = compute

    def __call__(self, images: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        with torch.no_grad(), self._compute.autocast():
            logits: torch.Tensor = self._network(images).float()
        return logits

    def memory(self) -> Mapping[str, torch.Tensor]:
        return {}


class _Remembered:
    """Asks for blocks of images and mirrored images, and looks up those that it has asked for."""

    def __init__(self, ask: Lesson, data: TrainingData) -> None:
        self._ask = ask
        self._data = data
        places = 2 * len(data.train)
        self._known = torch.zeros(places, dtype=torch.bool)
        self._logits = torch.zeros(places, data.classes)

    def is_of(self, data: TrainingData) -> bool:
        """Return whether places mean the same images, equally normalised, in other data."""
        own = self._data
        return own.train.images is data.train.images and own.normalisation == data.normalisation

    def __call__(self, images: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        new = places[~self._known[places]]
        for block in (new // _BLOCK).unique().tolist():
            self._learn(block * _BLOCK)
        return self._logits[places]

    def memory(self) -> Mapping[str, torch.Tensor]:
        return {"known": self._known, "logits": self._logits}

    def _learn(self, start: int) -> None:
        count = len(self._data.train)
        places = torch.arange(start, min(start + _BLOCK, 2 * count))
        images = flip(self._data.train.images[places % count], places >= count)
        normalised = self._data.normalisation(images)
        self._logits[places] = self._ask(
            normalised.contiguous(memory_format=torch.channels_last), places
        )
        self._known[places] = True
