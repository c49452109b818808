"""A folder of images: arrays from names and pixels alone, one line for all that can be wrong."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from archpress_trainer.data import folder as folder_module
from archpress_trainer.data.dataset import DatasetError
from archpress_trainer.data.folder import load_folder
from archpress_trainer.data.npz import load_npz, save_npz
from archpress_trainer.data.registry import DataSources

Pixels = NDArray[np.uint8]


def picture(seed: int, *, height: int = 9, width: int = 8, channels: int = 1) -> Pixels:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def put(path: Path, pixels: Pixels) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of 9x8 grey images: 3 and 2 for training, 1 of each for the test."""
    root = tmp_path / "pets"
    for seed, name in enumerate(
        ("train/dog/a", "train/dog/b", "train/cat/z", "train/cat/y", "train/cat/x")
    ):
        put(root / f"{name}.png", picture(seed))
    put(root / "test/cat/a.png", picture(10))
    put(root / "test/dog/a.png", picture(11))
    return root


def test_grey_images_and_sorted_classes(root: Path) -> None:
    dataset = load_folder("pets", root)
    assert dataset.name == "pets"
    assert dataset.classes == 2
    assert dataset.input_shape == (1, 9, 8)
    assert dataset.train_labels.tolist() == [0, 0, 0, 1, 1]
    assert dataset.train_labels.dtype == np.int64
    assert np.array_equal(dataset.train_images[0, ..., 0], picture(4))
    assert np.array_equal(dataset.train_images[3, ..., 0], picture(0))
    assert dataset.test_labels.tolist() == [0, 1]
    assert np.array_equal(dataset.test_images[1, ..., 0], picture(11))


def test_one_coloured_image_makes_all_of_them_coloured(root: Path) -> None:
    coloured = picture(20, channels=3)
    put(root / "test/dog/b.png", coloured)
    dataset = load_folder("pets", root)
    assert dataset.input_shape == (3, 9, 8)
    assert np.array_equal(dataset.test_images[-1], coloured)
    grey = picture(0)
    assert np.array_equal(dataset.train_images[3], np.stack([grey] * 3, axis=-1))


def test_transparency_and_palettes_become_colours(root: Path) -> None:
    put(root / "train/cat/alpha.png", picture(30, channels=4))
    Image.fromarray(picture(31, channels=3)).convert("P").save(root / "train/cat/palette.gif")
    Image.fromarray(picture(31, channels=3)).convert("P").save(root / "train/cat/palette.png")
    dataset = load_folder("pets", root)
    assert dataset.input_shape == (3, 9, 8)
    assert len(dataset.train_labels) == 7
    assert np.array_equal(dataset.train_images[0], picture(30, channels=4)[..., :3])


def test_black_and_white_counts_as_grey(root: Path) -> None:
    Image.fromarray(picture(1) > 127).save(root / "train/dog/bits.png")
    dataset = load_folder("pets", root)
    assert dataset.input_shape == (1, 9, 8)
    assert set(np.unique(dataset.train_images[-1])) == {0, 255}


def test_transparent_grey_and_grey_palettes_count_as_grey(root: Path) -> None:
    grey = picture(32)
    alpha = Image.fromarray(grey).convert("LA")
    alpha.putalpha(7)
    alpha.save(root / "train/cat/alpha.png")
    Image.fromarray(grey).quantize(16).save(root / "train/cat/palette.png")
    dataset = load_folder("pets", root)
    assert dataset.input_shape == (1, 9, 8)
    assert np.array_equal(dataset.train_images[0, ..., 0], grey)


def test_nested_folders_other_files_and_capitals(root: Path) -> None:
    put(root / "train/dog/deep/er/c.PNG", picture(40))
    (root / "train/dog/notes.txt").write_text("no image")
    (root / "train/dog/._a.png").write_bytes(b"a resource fork")
    (root / "train/.cache").mkdir()
    put(root / "train/dog/.ipynb_checkpoints/a.png", picture(41))
    dataset = load_folder("pets", root)
    assert dataset.train_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert np.array_equal(dataset.train_images[-1, ..., 0], picture(40))


def test_the_order_of_files_and_their_dates_change_nothing(root: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    for path in sorted(root.rglob("*.png"), reverse=True):
        copy = again / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        os.utime(copy, (1, 1))
    expected = load_folder("pets", root).fingerprint
    assert load_folder("pets", again).fingerprint == expected
    put(again / "train/dog/a.png", picture(99))
    assert load_folder("pets", again).fingerprint != expected


def test_a_saved_copy_is_the_same_data_set(root: Path, tmp_path: Path) -> None:
    dataset = load_folder("pets", root, image_size=8)
    save_npz(dataset, tmp_path / "pets.npz")
    again = load_npz("pets", tmp_path / "pets.npz")
    assert again.fingerprint == dataset.fingerprint
    assert again.classes == dataset.classes
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pets", "pets.npz"]


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    side=st.integers(1, 24),
    channels=st.sampled_from([1, 3]),
)
def test_any_size_becomes_the_wanted_square(
    height: int, width: int, side: int, channels: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("any")
    flat = np.full((height, width, channels), 77, np.uint8)
    for name in ("train/a/0", "train/b/0", "test/a/0"):
        put(root / f"{name}.png", flat[..., 0] if channels == 1 else flat)
    dataset = load_folder("any", root, image_size=side)
    assert dataset.input_shape == (channels, side, side)
    assert np.all(dataset.train_images == 77)


def test_resizing_keeps_the_aspect_by_cropping_the_centre(root: Path) -> None:
    wide = np.zeros((10, 30), np.uint8)
    wide[:, 8:22] = 200
    put(root / "train/cat/x.png", wide)
    dataset = load_folder("pets", root, image_size=5)
    assert np.all(dataset.train_images[0] == 200)


def test_the_registry_reads_folders(root: Path) -> None:
    sources = DataSources(files={"mine": root}, download=False)
    assert sources.load("mine").fingerprint == load_folder("x", root).fingerprint
    small = DataSources(files={"mine": root}, download=False, image_size=4)
    assert small.load("mine").input_shape == (1, 4, 4)


def _drop(name: str) -> Callable[[Path], None]:
    return lambda root: shutil.rmtree(root / name)


def _empty(name: str) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        shutil.rmtree(root / name)
        (root / name).mkdir()

    return damage


def _write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda root: void((root / name).write_bytes(content))


def void(_: object) -> None:
    """Drop a value."""


def _truncate(root: Path) -> None:
    path = put(root / "train/dog/a.png", picture(0))
    path.write_bytes(path.read_bytes()[:80])


def _truncate_jpeg(root: Path) -> None:
    path = put(root / "train/dog/big.jpg", picture(0))
    path.write_bytes(path.read_bytes()[:-40])


def _deep(root: Path) -> None:
    Image.fromarray(np.zeros((9, 8), np.uint16)).save(root / "train/dog/a.png")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (shutil.rmtree, ["pets: there is no folder train", "train/<class>/*.png"]),
        (_drop("train"), ["pets: there is no folder train", "train/<class>/*.png"]),
        (_drop("test"), ["pets: there is no folder test", "move some images of each class"]),
        (_empty("train"), ["train: there must be at least 2 folders", "there is none"]),
        (_drop("train/dog"), ["at least 2 folders", "only 'cat'"]),
        (_empty("train/dog"), ["train/dog: there is no image (.bmp, .jpeg"]),
        (_empty("test"), ["test: no class has an image (.bmp"]),
        (
            lambda root: void((root / "test/dog").rename(root / "test/bird")),
            ["test/bird: train has no class 'bird', it has cat, dog"],
        ),
        (_write("train/dog/a.png", b""), ["train/dog/a.png: not a readable image ("]),
        (_write("train/dog/a.png", b"GIF89a"), ["train/dog/a.png: not a readable image ("]),
        (_truncate, ["train/dog/a.png: not a readable image ("]),
        (_truncate_jpeg, ["train/dog/big.jpg: not a readable image ("]),
        (_deep, ["train/dog/a.png", "more than 8 bits", "mode I;16"]),
        (
            lambda root: void(put(root / "train/dog/a.png", picture(0, height=12))),
            ["train/cat/x.png is 8x9", "train/dog/a.png is 8x12", "--image-size N"],
        ),
        (
            lambda root: void(put(root / "test/dog/a.png", picture(0, width=5))),
            ["train/cat/x.png is 8x9", "test/dog/a.png is 5x9", "--image-size N"],
        ),
    ],
)
def test_what_is_wrong_is_one_line(
    damage: Callable[[Path], None], words: list[str], root: Path
) -> None:
    damage(root)
    with pytest.raises(DatasetError) as caught:
        load_folder("pets", root)
    message = str(caught.value)
    assert str(root) in message
    assert "\n" not in message
    for word in words:
        assert word in message


def test_too_many_bytes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "MAX_BYTES", 500)
    with pytest.raises(DatasetError) as caught:
        load_folder("pets", root)
    assert "7 images of 8x9 take 504 bytes, at most 500" in str(caught.value)
    assert load_folder("pets", root, image_size=8).input_shape == (1, 8, 8)


def test_a_file_that_would_fill_the_memory(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in (60, 10):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(DatasetError, match=r"x\.png: not a readable image \(.*bomb"):
            load_folder("pets", root)


def test_without_pillow(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(DatasetError, match=r"install archpress-trainer\[datasets\]"):
        load_folder("pets", root)


def test_a_folder_that_may_not_be_read_is_named(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As root is, who may run the tests, nobody is refused.
    def refused(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refused)
    with pytest.raises(DatasetError, match=r"train: cannot be read \(Permission denied\)"):
        load_folder("pets", root)
