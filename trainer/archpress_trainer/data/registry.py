"""Data sets by name: the built-in ones and a user's `.npz` files and folders of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from archpress_trainer.data.dataset import DatasetError, ImageDataset
from archpress_trainer.data.folder import load_folder
from archpress_trainer.data.idx import read_idx
from archpress_trainer.data.npz import load_npz
from archpress_trainer.data.torchvision_source import load_torchvision

BUILT_IN = ("fashion-mnist", "cifar10", "cifar100", "svhn")
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


@dataclass(frozen=True)
class DataSources:
    """Where data sets come from.

    `root` holds torchvision's layout (and receives its downloads, if `download`); `files` maps
    further names to `.npz` files or folders of images; `debian_fashion_mnist` is where Debian's
    package puts its files. With `image_size`, folders' images are cropped and scaled to that side.
    """

    root: Path = field(default_factory=lambda: Path.home() / ".cache" / "archpress" / "datasets")
    files: Mapping[str, Path] = field(default_factory=dict)
    download: bool = True
    debian_fashion_mnist: Path = DEBIAN_FASHION_MNIST
    image_size: int | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that `load` knows."""
        return (*BUILT_IN, *sorted(set(self.files) - set(BUILT_IN)))

    def load(self, name: str) -> ImageDataset:
        """Return a data set.

        Raises:
            DatasetError: the name is unknown, or the files are missing or malformed.
        """
        if name in self.files:
            path = self.files[name]
            if path.is_dir():
                return load_folder(name, path, image_size=self.image_size)
            return load_npz(name, path)
        if name not in BUILT_IN:
            raise DatasetError(f"unknown data set {name!r}; known are {', '.join(self.names)}")
        if name == "fashion-mnist" and self.debian_fashion_mnist.is_dir():
            return _debian_fashion_mnist(self.debian_fashion_mnist)
        return load_torchvision(name, self.root, download=self.download)


def _debian_fashion_mnist(folder: Path) -> ImageDataset:
    try:
        train_images, train_labels, test_images, test_labels = (
            read_idx(folder / f"{part}-{content}.gz")
            for part in ("train", "t10k")
            for content in ("images-idx3-ubyte", "labels-idx1-ubyte")
        )
    except (OSError, ValueError) as error:
        raise DatasetError(f"fashion-mnist in {folder} is damaged: {error}") from error
    for images, labels in ((train_images, train_labels), (test_images, test_labels)):
        if len(images) != len(labels):
            raise DatasetError(
                f"fashion-mnist in {folder} is damaged: it has {len(images):,} images for "
                f"{len(labels):,} labels"
            )
    return ImageDataset(
        "fashion-mnist",
        10,
        train_images[..., None],
        train_labels.astype("int64"),
        test_images[..., None],
        test_labels.astype("int64"),
    )
