"""Data sets by name: known names, Debian's folder, a user's files."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from archpress_trainer.data.dataset import DatasetError
from archpress_trainer.data.idx import read_idx
from archpress_trainer.data.registry import DataSources
from tests.trainer.data.arrays import small_arrays, write_fashion_mnist


def nowhere(folder: Path) -> DataSources:
    return DataSources(root=folder, download=False, debian_fashion_mnist=folder / "no-such-folder")


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    sources = DataSources(root=tmp_path, files={"mine": tmp_path / "x.npz"}, download=False)
    assert sources.names == ("fashion-mnist", "cifar10", "cifar100", "svhn", "mine")
    with pytest.raises(DatasetError) as caught:
        sources.load("mnist")
    assert str(caught.value) == (
        "unknown data set 'mnist'; known are fashion-mnist, cifar10, cifar100, svhn, mine"
    )


def test_a_file_has_its_name_and_may_replace_a_built_in_one(tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    np.savez(path, **small_arrays())
    sources = DataSources(root=tmp_path, files={"mine": path, "svhn": path}, download=False)
    assert sources.load("mine").name == "mine"
    assert sources.load("svhn").classes == 3
    assert sources.names.count("svhn") == 1


def test_debians_folder(tmp_path: Path) -> None:
    arrays = write_fashion_mnist(tmp_path, zipped=True)
    dataset = DataSources(root=tmp_path, debian_fashion_mnist=tmp_path).load("fashion-mnist")
    assert dataset.input_shape == (1, 28, 28)
    assert dataset.classes == 10
    assert np.array_equal(dataset.train_images[..., 0], arrays["train-images-idx3-ubyte"])
    assert np.array_equal(dataset.train_labels, arrays["train-labels-idx1-ubyte"])
    assert np.array_equal(dataset.test_images[..., 0], arrays["t10k-images-idx3-ubyte"])
    assert np.array_equal(dataset.test_labels, arrays["t10k-labels-idx1-ubyte"])
    assert dataset.train_labels.dtype == np.int64
    assert dataset.split().train.images.shape[1:] == (1, 28, 28)


@pytest.mark.parametrize("damage", ["missing", "truncated", "garbled"])
def test_a_damaged_debian_folder_is_one_line(damage: str, tmp_path: Path) -> None:
    write_fashion_mnist(tmp_path, zipped=True)
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[:1000])
    else:
        path.write_bytes(content[:100] + b"\xff" * 400 + content[500:])
    with pytest.raises(DatasetError, match=r"t10k-images-idx3-ubyte\.gz") as caught:
        DataSources(root=tmp_path, debian_fashion_mnist=tmp_path).load("fashion-mnist")
    assert str(caught.value).startswith(f"fashion-mnist in {tmp_path} is damaged: ")
    assert "\n" not in str(caught.value)


def test_debians_folder_with_labels_missing(tmp_path: Path) -> None:
    write_fashion_mnist(tmp_path, zipped=True)
    images = tmp_path / "train-images-idx3-ubyte.gz"
    labels = tmp_path / "train-labels-idx1-ubyte.gz"
    content = gzip.decompress(labels.read_bytes())
    labels.write_bytes(gzip.compress(content[:4] + (7).to_bytes(4, "big") + content[8:15]))
    count = len(read_idx(images))
    with pytest.raises(DatasetError, match=f"is damaged: it has {count} images for 7 labels"):
        DataSources(root=tmp_path, debian_fashion_mnist=tmp_path).load("fashion-mnist")


@pytest.mark.parametrize("name", ["fashion-mnist", "cifar10", "cifar100", "svhn"])
def test_absent_files_without_download_say_so(name: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        nowhere(tmp_path).load(name)
    assert str(caught.value).startswith(f"{name} is not below {tmp_path}")
    assert "\n" not in str(caught.value)
