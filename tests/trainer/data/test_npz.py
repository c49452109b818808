"""A user's `.npz`: both layouts, and one line for everything that can be wrong with it."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archpress_trainer.data.dataset import DatasetError
from archpress_trainer.data.npz import KEYS, load_npz
from tests.trainer.data.arrays import small_arrays


def write(folder: Path, **changes: Any) -> Path:
    """Write the small data set with changed arrays; None leaves one out."""
    arrays = {k: v for k, v in {**small_arrays(), **changes}.items() if v is not None}
    path = folder / "own.npz"
    np.savez_compressed(path, **arrays)
    return path


def test_grey_images_get_a_channel(tmp_path: Path) -> None:
    arrays = small_arrays()
    dataset = load_npz("own", write(tmp_path))
    assert dataset.name == "own"
    assert dataset.classes == 3
    assert dataset.input_shape == (1, 6, 5)
    assert np.array_equal(dataset.train_images[..., 0], arrays["x_train"])
    assert np.array_equal(dataset.test_labels, arrays["y_test"])
    assert dataset.train_labels.dtype == np.int64


def test_colour_images_and_narrow_labels(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (60, 6, 5, 3), dtype=np.uint8)
    labels = (np.arange(60) % 3).astype(np.uint8)
    dataset = load_npz("own", write(tmp_path, x_train=colours, x_test=colours[:12], y_train=labels))
    assert dataset.input_shape == (3, 6, 5)
    assert dataset.train_labels.dtype == np.int64


small = small_arrays()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"x_test": None}, ["missing x_test"]),
        ({"x_train": None, "y_test": None}, ["missing x_train, y_test"]),
        ({"x_train": small["x_train"].astype(np.float32)}, ["x_train", "float32", "uint8"]),
        ({"x_test": small["x_test"].astype(np.int64)}, ["x_test", "int64", "uint8"]),
        ({"x_train": small["x_train"][:, 0]}, ["x_train", "(60, 5)"]),
        ({"x_train": small["x_train"][:0]}, ["x_train", "(0, 6, 5)"]),
        ({"x_test": np.zeros((1, 2, 6, 5, 1), np.uint8)}, ["x_test", "(1, 2, 6, 5, 1)"]),
        ({"x_test": small["x_test"][:, :4]}, ["x_train", "(6, 5, 1)", "x_test", "(4, 5, 1)"]),
        ({"y_train": small["y_train"].astype(np.float64)}, ["y_train", "float64", "integers"]),
        ({"y_test": small["y_test"] > 0}, ["y_test", "bool", "integers"]),
        ({"y_train": np.array(["a"] * 60)}, ["y_train", "<U1", "integers"]),
        ({"y_train": small["y_train"][:59]}, ["y_train", "(59,)", "(60,)"]),
        ({"y_test": small["y_test"][:, None]}, ["y_test", "(12, 1)", "(12,)"]),
        ({"y_train": small["y_train"] - 1}, ["y_train", "label -1"]),
        ({"y_test": small["y_test"] - 5}, ["y_test", "label -5"]),
        (
            {"y_test": np.uint64(2**63 + 5) + small["y_test"].astype(np.uint64)},
            ["y_test", "too large"],
        ),
        ({"y_train": small["y_train"] * 0}, ["y_train", "one class only"]),
        ({"y_test": small["y_test"] + 1}, ["y_test", "label 3", "0 to 2"]),
        ({"y_train": small["y_train"] + 1}, ["y_train", "up to label 3", "no label 0"]),
        ({"y_train": small["y_train"] * 500}, ["y_train", "up to label 1000", "no label 1"]),
        (
            {"x_train": np.zeros((60, 3, 32, 32), np.uint8)},
            ["x_train", "(60, 3, 32, 32)", "channels first"],
        ),
        ({"y_train": np.array([None] * 60, dtype=object)}, ["not a readable .npz"]),
    ],
)
def test_a_wrong_array_is_named_with_its_value(
    changes: dict[str, Any], words: list[str], tmp_path: Path
) -> None:
    path = write(tmp_path, **changes)
    with pytest.raises(DatasetError) as caught:
        load_npz("own", path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    for word in words:
        assert word in message


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _text(path: Path) -> None:
    path.write_text("x_train,y_train\n")


def _truncated(path: Path) -> None:
    path.write_bytes(write(path.parent).read_bytes()[:-100])


def _garbled(path: Path) -> None:
    content = bytearray(write(path.parent).read_bytes())
    content[300:340] = b"\xff" * 40
    path.write_bytes(content)


def _plain_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, small["x_train"])


def _encrypted(path: Path) -> None:
    content = bytearray(write(path.parent).read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(signature)
        while at >= 0:
            content[at + flags] |= 1
            at = content.find(signature, at + 4)
    path.write_bytes(content)


def _header(text: str) -> Any:
    def damage(path: Path) -> None:
        header = f"{text}\n".encode()
        array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
        with zipfile.ZipFile(path, "w") as archive:
            for key in KEYS:
                archive.writestr(f"{key}.npy", array)

    return damage


_HUGE = _header("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000000,)}")
_TORN = _header("{'descr': '|u1', 'fortran_order': False, 'shape': (")


def _folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    "damage",
    [_empty, _text, _truncated, _garbled, _plain_array, _encrypted, _HUGE, _TORN, _folder],
)
def test_an_unreadable_file_is_one_line(damage: Any, tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    damage(path)
    with pytest.raises(DatasetError) as caught:
        load_npz("own", path)
    assert str(caught.value).startswith(f"{path}: not a readable .npz file (")
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="there is no such file"):
        load_npz("own", tmp_path / "none.npz")
