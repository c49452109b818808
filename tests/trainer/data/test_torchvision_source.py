"""torchvision's folders are read as they are on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from archpress_trainer.data.dataset import DatasetError
from archpress_trainer.data.registry import DataSources
from archpress_trainer.data.torchvision_source import load_torchvision
from tests.trainer.data.arrays import write_fashion_mnist

pytest.importorskip("torchvision")


def test_fashion_mnist(tmp_path: Path) -> None:
    arrays = write_fashion_mnist(tmp_path / "FashionMNIST" / "raw", zipped=False)
    dataset = load_torchvision("fashion-mnist", tmp_path, download=False)
    assert dataset.classes == 10
    assert dataset.input_shape == (1, 28, 28)
    assert np.array_equal(dataset.train_images[..., 0], arrays["train-images-idx3-ubyte"])
    assert np.array_equal(dataset.train_labels, arrays["train-labels-idx1-ubyte"])
    assert np.array_equal(dataset.test_images[..., 0], arrays["t10k-images-idx3-ubyte"])
    assert np.array_equal(dataset.test_labels, arrays["t10k-labels-idx1-ubyte"])


def test_both_layouts_of_fashion_mnist_have_one_fingerprint(tmp_path: Path) -> None:
    write_fashion_mnist(tmp_path / "FashionMNIST" / "raw", zipped=False)
    write_fashion_mnist(tmp_path / "debian", zipped=True)
    debian = DataSources(root=tmp_path, debian_fashion_mnist=tmp_path / "debian")
    ours = load_torchvision("fashion-mnist", tmp_path, download=False)
    assert ours.fingerprint == debian.load("fashion-mnist").fingerprint


@pytest.mark.parametrize("left", [1000, 0])
def test_a_damaged_file_is_one_line(tmp_path: Path, left: int) -> None:
    folder = tmp_path / "FashionMNIST" / "raw"
    write_fashion_mnist(folder, zipped=False)
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(DatasetError, match="fashion-mnist") as caught:
        load_torchvision("fashion-mnist", tmp_path, download=False)
    assert "\n" not in str(caught.value)
