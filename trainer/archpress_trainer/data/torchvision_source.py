"""Data sets through torchvision: its on-disk layout and its downloads. The only import of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from archpress_trainer.data.dataset import DatasetError, ImageDataset


def load_torchvision(name: str, root: Path, *, download: bool) -> ImageDataset:
    """Return one of torchvision's data sets, kept below `root`.

    Raises:
        DatasetError: torchvision is missing, or the files are and cannot be downloaded.
    """
    try:
        from torchvision import datasets
    except ImportError as error:
        raise DatasetError(
            f"{name} needs torchvision: install archpress-trainer[datasets] ({error})"
        ) from error
    loaders: dict[str, tuple[Callable[[bool], Any], int]] = {
        "fashion-mnist": (
            lambda train: datasets.FashionMNIST(str(root), train=train, download=download),
            10,
        ),
        "cifar10": (lambda train: datasets.CIFAR10(str(root), train=train, download=download), 10),
        "cifar100": (
            lambda train: datasets.CIFAR100(str(root), train=train, download=download),
            100,
        ),
        "svhn": (
            lambda train: datasets.SVHN(
                str(root), split="train" if train else "test", download=download
            ),
            10,
        ),
    }
    load, classes = loaders[name]
    try:
        parts = [_arrays(load(train)) for train in (True, False)]
    except Exception as error:
        # torchvision raises what it likes, of files that are damaged too.
        raise DatasetError(
            f"{name} is not below {root}, or not whole, and could not be downloaded: {error}"
        ) from error
    (train_images, train_labels), (test_images, test_labels) = parts
    return ImageDataset(name, classes, train_images, train_labels, test_images, test_labels)


def _arrays(source: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    images = np.asarray(source.data, dtype=np.uint8)
    labels = np.asarray(source.targets if hasattr(source, "targets") else source.labels)
    if images.ndim == 3:
        images = images[..., None]
    elif images.shape[1] == 3 and images.shape[3] != 3:
        # SVHN keeps the channels first.
        images = images.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), labels.astype(np.int64)
