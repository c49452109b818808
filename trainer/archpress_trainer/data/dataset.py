"""`ImageDataset`: labelled images with a fingerprint, and its split for training."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

SPLIT_SEED = 20181127
"""Seed of every train/validation split: the same images in the same order are split alike."""

VALIDATION_FRACTION = 1 / 12
"""Share of the training images kept for decisions (5,000 of Fashion-MNIST's 60,000)."""


class DatasetError(ValueError):
    """A data set that is unknown, missing or malformed; the message says what to do."""


@dataclass(frozen=True)
class ImageDataset:
    """Images `(count, height, width, channels)` as uint8 and labels `(count,)` from 0.

    The test part is for the certificate only; everything else uses `split`.
    """

    name: str
    classes: int
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """`(channels, height, width)` of one image."""
        _, height, width, channels = self.train_images.shape
        return channels, height, width

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over the labelled images of both parts, whatever their order in each.

        The same data set comes in several orders, from an archive or from a folder.
        """
        digest = hashlib.sha256()
        for images, labels in (
            (self.train_images, self.train_labels),
            (self.test_images, self.test_labels),
        ):
            digest.update(f"{images.dtype}{images.shape}".encode())
            examples = sorted(
                hashlib.sha256(image.tobytes() + label.tobytes()).digest()
                for image, label in zip(images, labels.astype("<i8"), strict=True)
            )
            digest.update(b"".join(examples))
        return digest.hexdigest()

    @property
    def training_count(self) -> int:
        """Number of images that `split` leaves for training."""
        return len(self.train_labels) - self._validation_count

    @property
    def _validation_count(self) -> int:
        return max(1, round(len(self.train_labels) * VALIDATION_FRACTION))

    def split(self) -> TrainingData:
        """Return the train and validation parts, split with `SPLIT_SEED`."""
        order = np.random.default_rng(SPLIT_SEED).permutation(len(self.train_labels))
        held_out = self._validation_count
        validation, train = np.sort(order[:held_out]), np.sort(order[held_out:])
        mean, std = _moments(self.train_images[train])
        return TrainingData(
            train=labelled(self.train_images[train], self.train_labels[train]),
            validation=labelled(self.train_images[validation], self.train_labels[validation]),
            normalisation=Normalisation(
                tuple(mean.tolist()), tuple(np.maximum(std, 1e-3).tolist())
            ),
            classes=self.classes,
        )

    def test(self) -> LabelledImages:
        """Return the test part, which is read once, for the number that is reported."""
        return labelled(self.test_images, self.test_labels)


@dataclass(frozen=True)
class LabelledImages:
    """Images `(count, channels, height, width)` as uint8 and labels `(count,)` as int64."""

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def subset(self, count: int | None) -> LabelledImages:
        """Return `count` images in their order, with the whole's share of every class; None is all.

        Of each class they are the first, so that data in the order of their classes do no harm.
        """
        if count is None or count >= len(self):
            return self
        sizes = torch.bincount(self.labels)
        by_class = torch.argsort(self.labels, stable=True)
        rank = torch.empty_like(by_class)
        rank[by_class] = torch.arange(len(self), device=rank.device)
        rank -= (sizes.cumsum(0) - sizes)[self.labels]
        share = (rank + 0.5).double() / sizes[self.labels]
        chosen = torch.argsort(share, stable=True)[:count].sort().values
        return LabelledImages(self.images[chosen], self.labels[chosen])

    def to(self, device: torch.device) -> LabelledImages:
        """Return a copy on a device."""
        return LabelledImages(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each channel of the training images, in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return float32 images with zero mean and unit deviation from uint8 ones."""
        return self.on(images.device)(images)

    def on(self, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the same function for images on a device, with its numbers there already."""
        mean = torch.tensor(self.mean, device=device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, device=device).view(1, -1, 1, 1)
        return lambda images: (images.float() / 255 - mean) / std


@dataclass(frozen=True)
class TrainingData:
    """What a training may see: train and validation images, and how to normalise them."""

    train: LabelledImages
    validation: LabelledImages
    normalisation: Normalisation
    classes: int

    def to(self, device: torch.device) -> TrainingData:
        """Return a copy on a device."""
        return TrainingData(
            self.train.to(device), self.validation.to(device), self.normalisation, self.classes
        )

    def subset(self, count: int | None) -> TrainingData:
        """Return the same data with only a `subset` of the training images."""
        return TrainingData(
            self.train.subset(count), self.validation, self.normalisation, self.classes
        )


def _moments(images: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation of each channel in [0, 1].

    They come from how often each value occurs, without a copy of the images in wider numbers.
    """
    values = np.arange(256) / 255
    counts = np.zeros((images.shape[-1], 256), dtype=np.int64)
    for image in images:
        for channel, count in enumerate(counts):
            count += np.bincount(image[..., channel].ravel(), minlength=256)
    shares = counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ values
    return mean, np.sqrt((shares * (values - mean[:, None]) ** 2).sum(axis=1))


def labelled(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> LabelledImages:
    """Return tensors `(count, channels, height, width)` from arrays with channels last."""
    # Copies: tensors must be writable, arrays read from a file need not be.
    tensor = torch.from_numpy(np.array(images.transpose(0, 3, 1, 2), order="C"))
    return LabelledImages(tensor, torch.from_numpy(np.array(labels)))
