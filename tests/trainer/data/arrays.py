"""Small data sets as arrays and as files."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np

from archpress_trainer.data.dataset import ImageDataset

Arrays = dict[str, Any]


def small_arrays(seed: int = 0) -> Arrays:
    """Return the four arrays of an `.npz` data set: 60 + 12 images of 6x5, three classes."""
    rng = np.random.default_rng(seed)
    return {
        "x_train": rng.integers(0, 256, (60, 6, 5), dtype=np.uint8),
        "y_train": np.arange(60) % 3,
        "x_test": rng.integers(0, 256, (12, 6, 5), dtype=np.uint8),
        "y_test": np.arange(12) % 3,
    }


def small_dataset(seed: int = 0) -> ImageDataset:
    """Return the same as a data set, with three channels."""
    rng = np.random.default_rng(seed)
    return ImageDataset(
        "small",
        3,
        rng.integers(0, 256, (60, 6, 5, 3), dtype=np.uint8),
        np.arange(60) % 3,
        rng.integers(0, 256, (12, 6, 5, 3), dtype=np.uint8),
        np.arange(12) % 3,
    )


def idx_bytes(array: np.ndarray[Any, Any]) -> bytes:
    """Return an array as an IDX file of unsigned bytes."""
    sides = b"".join(side.to_bytes(4, "big") for side in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sides + array.astype(np.uint8).tobytes()


def write_fashion_mnist(folder: Path, *, zipped: bool) -> Arrays:
    """Write small files under Fashion-MNIST's names and return their arrays."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    arrays: Arrays = {
        "train-images-idx3-ubyte": rng.integers(0, 256, (30, 28, 28), dtype=np.uint8),
        "train-labels-idx1-ubyte": rng.integers(0, 10, 30, dtype=np.uint8),
        "t10k-images-idx3-ubyte": rng.integers(0, 256, (10, 28, 28), dtype=np.uint8),
        "t10k-labels-idx1-ubyte": rng.integers(0, 10, 10, dtype=np.uint8),
    }
    for name, array in arrays.items():
        content = idx_bytes(array)
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return arrays
