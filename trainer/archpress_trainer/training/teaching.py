"""What a teacher says of the images of a batch: asked once for each image where images come back.

It has seen the same images and is too sure of them. So it says of each what it says on average of
its views: the image as it is, moved, and these mirrored, as the recipe has it. All that learn from
it share the answers; two views cost as much as 20 epochs of a network of a thirtieth of its
multiply-accumulates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import nn

from archpress_trainer.data.dataset import TrainingData
from archpress_trainer.training.augment import move
from archpress_trainer.training.device import Compute
from archpress_trainer.training.memory import images_at_once
from archpress_trainer.training.recipe import Recipe

_BLOCK = 16
"""How many images a teacher is asked for at once where some are not asked for at all.

They are the same ones whoever asks first: a network computes other last bits in other batches.
"""
_BLOCK_OF_ALL = 100
"""How many images a teacher is asked for at once where all are."""


class Lesson(Protocol):
    """What a teacher says of the images of a batch."""

    def __call__(self, images: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """Return logits `(batch, classes)` for normalised images and their `Batch.places`."""
        ...

    def memory(self) -> Mapping[str, torch.Tensor]:
        """Return what is remembered, as tensors that may be overwritten."""
        ...


def views(recipe: Recipe) -> int:
    """Return how many times a teacher is asked about each image that comes back."""
    return len(_moves(recipe)) * (2 if recipe.flip else 1)


def comes_back(recipe: Recipe) -> bool:
    """Return whether a recipe shows the same images again, whose answers can be remembered."""
    return not (recipe.crop_padding or recipe.erase)


def _moves(recipe: Recipe) -> tuple[tuple[int, int], ...]:
    side = recipe.distil_shift
    return ((0, 0), (-side, 0), (side, 0), (0, -side), (0, side)) if side else ((0, 0),)


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
        if not comes_back(recipe):
            return asked
        if self._remembered is None or not self._remembered.is_of(data, recipe):
            self._remembered = _Remembered(asked, data, recipe)
        if self._compute.device.type == "cuda":
            # A recorded step can look up, but not find out what is missing.
            self._remembered.learn_all()
        return self._remembered


class _Asked:
    """Asks for all images each time, no more at once than memory allows."""

    def __init__(self, network: nn.Module, compute: Compute) -> None:
        self._network = network
        self._compute = compute
        self._at_once = images_at_once(network)

    def __call__(self, images: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        with torch.no_grad(), self._compute.autocast():
            parts = images.split(self._at_once)
            return torch.cat([self._network(part).float() for part in parts])

    def memory(self) -> Mapping[str, torch.Tensor]:
        return {}


class _Remembered:
    """Asks for blocks of images in all views, and looks up those that it has asked for."""

    def __init__(self, ask: Lesson, data: TrainingData, recipe: Recipe) -> None:
        self._ask = ask
        self._data = data
        self._moves = _moves(recipe)
        self._mirror = recipe.flip
        count, device = len(data.train), data.train.images.device
        self._known = torch.zeros(count, dtype=torch.bool, device=device)
        self._logits = torch.zeros(count, data.classes, device=device)
        self._knows_all = False

    def is_of(self, data: TrainingData, recipe: Recipe) -> bool:
        """Return whether a training has the same images, equally normalised, in the same views."""
        own = self._data
        same = own.train.images is data.train.images and own.normalisation == data.normalisation
        return same and (self._moves, self._mirror) == (_moves(recipe), recipe.flip)

    def __call__(self, images: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        indices = places % len(self._known)
        if not self._knows_all:
            new = indices[~self._known[indices]]
            for block in (new // _BLOCK).unique().tolist():
                self._learn(block * _BLOCK, _BLOCK)
        return self._logits[indices]

    def memory(self) -> Mapping[str, torch.Tensor]:
        return {"known": self._known, "logits": self._logits}

    def learn_all(self) -> None:
        """Ask for every image now."""
        if not self._knows_all:
            for start in range(0, len(self._known), _BLOCK_OF_ALL):
                self._learn(start, _BLOCK_OF_ALL)
            self._knows_all = True

    def _learn(self, start: int, count: int) -> None:
        chosen = torch.arange(
            start, min(start + count, len(self._known)), device=self._known.device
        )
        images = self._data.train.images[chosen]
        seen = torch.cat([move(images, *by) for by in self._moves])
        if self._mirror:
            seen = torch.cat([seen, seen.flip(-1)])
        normalised = self._data.normalisation(seen).contiguous(memory_format=torch.channels_last)
        said = self._ask(normalised, chosen.repeat(len(seen) // len(chosen)))
        self._logits[chosen] = said.view(-1, len(chosen), said.shape[1]).mean(dim=0)
        self._known[chosen] = True
