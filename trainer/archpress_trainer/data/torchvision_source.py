"""Data sets through torchvision: its on-disk layout and its downloads. The only import of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from archpress_trainer.data.dataset import DatasetError, ImageDataset
from archpress_trainer.data.download import alone, new_files


@dataclass(frozen=True)
class _Source:
    part: Callable[..., Any]
    """Returns the training part or the test part that is below a folder."""
    classes: int
    archives: str
    """Which files torchvision checks by their MD5, and then does not download again."""


def load_torchvision(name: str, root: Path, *, download: bool) -> ImageDataset:
    """Return one of torchvision's data sets, kept below `root`, which any number may share.

    Raises:
        DatasetError: torchvision is missing, or the files are and cannot be downloaded.
    """
    source = _source(name)
    # torchvision raises what it likes, of files that are damaged too.
    try:
        return _read(name, source, root)
    except Exception as error:
        if not download:
            raise DatasetError(f"{name} is not below {root}, or not whole: {error}") from error
    try:
        with alone(name, root):
            # Somebody else may have downloaded it meanwhile.
            with suppress(Exception):
                return _read(name, source, root)
            with new_files(name, root, source.archives) as folder:
                return _read(name, source, folder, download=True)
    except DatasetError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        raise DatasetError(
            f"{name} is not below {root}, or not whole, and could not be downloaded: {reason}"
        ) from error


def _source(name: str) -> _Source:
    try:
        from torchvision import datasets
    except ImportError as error:
        raise DatasetError(
            f"{name} needs torchvision: install archpress-trainer[datasets] ({error})"
        ) from error

    def svhn(root: str, *, train: bool, download: bool) -> Any:
        return datasets.SVHN(root, split="train" if train else "test", download=download)

    return {
        "fashion-mnist": _Source(datasets.FashionMNIST, 10, "FashionMNIST/raw/*.gz"),
        "cifar10": _Source(datasets.CIFAR10, 10, "cifar-10-python.tar.gz"),
        "cifar100": _Source(datasets.CIFAR100, 100, "cifar-100-python.tar.gz"),
        "svhn": _Source(svhn, 10, "t*_32x32.mat"),
    }[name]


def _read(name: str, source: _Source, folder: Path, *, download: bool = False) -> ImageDataset:
    (train_images, train_labels), (test_images, test_labels) = (
        _arrays(source.part(str(folder), train=train, download=download)) for train in (True, False)
    )
    return ImageDataset(name, source.classes, train_images, train_labels, test_images, test_labels)


def _arrays(source: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    images = np.asarray(source.data, dtype=np.uint8)
    labels = np.asarray(source.targets if hasattr(source, "targets") else source.labels)
    if images.ndim == 3:
        images = images[..., None]
    elif images.shape[1] == 3 and images.shape[3] != 3:
        # SVHN keeps the channels first.
        images = images.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), labels.astype(np.int64)
