"""torchvision's folders are read as they are on disk."""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archpress_trainer.data.dataset import DatasetError
from archpress_trainer.data.registry import DataSources
from archpress_trainer.data.torchvision_source import load_torchvision
from tests.trainer.data.arrays import write_fashion_mnist

datasets = pytest.importorskip("torchvision.datasets")
NAME = "fashion-mnist"


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Where small files were downloaded to, as torchvision does it: in place, if one is missing."""
    folders: list[Path] = []

    def download(source: Any) -> None:
        if not source._check_exists():
            folders.append(Path(source.root))
            time.sleep(0.2)
            write_fashion_mnist(Path(source.raw_folder), zipped=False)

    monkeypatch.setattr(datasets.FashionMNIST, "download", download)
    return folders


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


def test_what_is_missing_is_downloaded_once(tmp_path: Path, downloads: list[Path]) -> None:
    first = load_torchvision(NAME, tmp_path, download=True)
    assert len(downloads) == 1
    assert load_torchvision(NAME, tmp_path, download=True).fingerprint == first.fingerprint
    assert len(downloads) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".{NAME}.lock", "FashionMNIST"]


def test_those_who_come_at_one_time_share_a_download(tmp_path: Path, downloads: list[Path]) -> None:
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(
            lambda _: load_torchvision(NAME, tmp_path, download=True), range(2)
        )
    assert len(downloads) == 1
    assert first.fingerprint == second.fingerprint


@pytest.mark.usefixtures("downloads")
def test_a_damaged_file_is_downloaded_again(tmp_path: Path) -> None:
    whole = load_torchvision(NAME, tmp_path, download=True).fingerprint
    labels = tmp_path / "FashionMNIST" / "raw" / "t10k-labels-idx1-ubyte"
    labels.write_bytes(b"")
    assert load_torchvision(NAME, tmp_path, download=True).fingerprint == whole
    assert load_torchvision(NAME, tmp_path, download=False).fingerprint == whole


def test_a_damaged_file_is_extracted_again_from_its_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "FashionMNIST" / "raw"
    write_fashion_mnist(folder, zipped=True)
    write_fashion_mnist(folder, zipped=False)
    archives = [
        (path.name, hashlib.md5(path.read_bytes()).hexdigest()) for path in folder.glob("*.gz")
    ]
    monkeypatch.setattr(datasets.FashionMNIST, "resources", archives)
    whole = load_torchvision(NAME, tmp_path, download=False).fingerprint
    (folder / "t10k-labels-idx1-ubyte").write_bytes(b"")
    monkeypatch.setattr(datasets.FashionMNIST, "mirrors", ["file:///no/such/folder/"])
    assert load_torchvision(NAME, tmp_path, download=True).fingerprint == whole


def test_a_download_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(source: Any) -> None:
        raw = Path(source.raw_folder)
        raw.mkdir(parents=True, exist_ok=True)
        (raw / "train-images-idx3-ubyte").write_bytes(b"half")
        raise RuntimeError("Error downloading train-images:\nTried a mirror, got:\nnothing")

    monkeypatch.setattr(datasets.FashionMNIST, "download", download)
    with pytest.raises(DatasetError) as caught:
        load_torchvision(NAME, tmp_path, download=True)
    assert str(caught.value) == (
        f"{NAME} is not below {tmp_path}, or not whole, and could not be downloaded: "
        "Error downloading train-images: Tried a mirror, got: nothing"
    )
    assert [path.name for path in tmp_path.iterdir()] == [f".{NAME}.lock"]
