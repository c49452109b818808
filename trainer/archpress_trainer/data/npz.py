"""A user's own data set: an `.npz` file with uint8 images and integer labels."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archpress_trainer.data.dataset import DatasetError, ImageDataset
from archpress_trainer.whole_file import whole_file

KEYS = ("x_train", "y_train", "x_test", "y_test")
_UNREADABLE = (
    EOFError,
    MemoryError,
    OSError,
    OverflowError,
    RuntimeError,
    TokenError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What numpy raises for a file that is damaged, empty, encrypted or no archive of arrays."""


def load_npz(name: str, path: Path) -> ImageDataset:
    """Return the data set in an `.npz` with `x_train, y_train, x_test, y_test`.

    Images are uint8 `(count, height, width)` or `(count, height, width, channels)`, labels
    integers `(count,)` from 0; the number of classes is the largest training label plus one.

    Raises:
        DatasetError: a missing key, a wrong dtype, shape or label, named with its value.
    """
    try:
        # Given a path, numpy leaves its file open when it is no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            missing = [key for key in KEYS if key not in archive.files]
            if missing:
                raise DatasetError(
                    f"{path}: missing {', '.join(missing)}; an .npz data set has {', '.join(KEYS)}"
                )
            arrays = {key: np.asarray(archive[key]) for key in KEYS}
    except FileNotFoundError:
        raise DatasetError(f"{path}: there is no such file or folder") from None
    except _UNREADABLE as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"{path}: not a readable .npz file ({error})") from error
    train = _images(path, "x_train", arrays["x_train"])
    test = _images(path, "x_test", arrays["x_test"])
    if train.shape[1:] != test.shape[1:]:
        raise DatasetError(
            f"{path}: x_train has images of {train.shape[1:]}, x_test of {test.shape[1:]}"
        )
    train_labels = _labels(path, "y_train", arrays["y_train"], len(train))
    test_labels = _labels(path, "y_test", arrays["y_test"], len(test))
    classes = int(train_labels.max()) + 1
    if classes < 2:
        raise DatasetError(f"{path}: y_train holds one class only")
    absent = _first_absent(train_labels)
    if absent is not None:
        raise DatasetError(
            f"{path}: y_train goes up to label {classes - 1} but has no label {absent}; number the "
            "classes from 0 without gaps"
        )
    if int(test_labels.max()) >= classes:
        raise DatasetError(
            f"{path}: y_test holds label {int(test_labels.max())}, y_train only 0 to {classes - 1}"
        )
    return ImageDataset(name, classes, train, train_labels, test, test_labels)


def save_npz(dataset: ImageDataset, path: Path) -> None:
    """Write a data set so that `load_npz` returns the same; the file is whole or not there."""
    with whole_file(path) as file:
        np.savez(
            file,
            x_train=dataset.train_images,
            y_train=dataset.train_labels,
            x_test=dataset.test_images,
            y_test=dataset.test_labels,
        )


def _images(path: Path, key: str, array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.dtype != np.uint8:
        raise DatasetError(f"{path}: {key} has dtype {array.dtype}, must be uint8")
    if array.ndim not in (3, 4) or 0 in array.shape:
        raise DatasetError(
            f"{path}: {key} has shape {array.shape}, must be (count, height, width) "
            "or (count, height, width, channels)"
        )
    if array.ndim == 4 and array.shape[1] in (1, 3) and array.shape[3] > 4:
        raise DatasetError(
            f"{path}: {key} has shape {array.shape}, with the channels first; they must be last, "
            "as in (count, height, width, channels)"
        )
    return array[..., None] if array.ndim == 3 else array


def _labels(path: Path, key: str, array: NDArray[Any], count: int) -> NDArray[np.int64]:
    if not np.issubdtype(array.dtype, np.integer):
        raise DatasetError(f"{path}: {key} has dtype {array.dtype}, must be integers")
    if array.shape != (count,):
        raise DatasetError(f"{path}: {key} has shape {array.shape}, must be ({count},)")
    if int(array.min()) < 0:
        raise DatasetError(f"{path}: {key} holds label {int(array.min())}, labels start at 0")
    if int(array.max()) > np.iinfo(np.int64).max:
        raise DatasetError(f"{path}: {key} holds label {int(array.max())}, which is too large")
    return array.astype(np.int64)


def _first_absent(labels: NDArray[np.int64]) -> int | None:
    """Return the smallest label below the largest one that does not occur."""
    present = np.unique(labels)
    gaps = np.flatnonzero(present != np.arange(len(present)))
    return int(gaps[0]) if len(gaps) else None
