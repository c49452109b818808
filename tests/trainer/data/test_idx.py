"""IDX files: what is read and what is refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from archpress_trainer.data.idx import read_idx
from tests.trainer.data.arrays import idx_bytes

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 4, 3), dtype=np.uint8)


@pytest.mark.parametrize("array", [IMAGES, IMAGES[0, 0], IMAGES[:0]], ids=["3d", "1d", "empty"])
def test_round_trip(array: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(idx_bytes(array)))
    read = read_idx(path)
    assert read.dtype == np.uint8
    assert read.shape == array.shape
    assert np.array_equal(read, array)


def _garbled(zipped: bytes) -> bytes:
    return zipped[:30] + b"\xff" * 40 + zipped[70:]


whole = idx_bytes(IMAGES)
not_images = "not an IDX file of unsigned bytes"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no gzip at all", "not a whole gzip file"),
        (gzip.compress(whole)[:-20], "not a whole gzip file"),
        (_garbled(gzip.compress(whole)), "not a whole gzip file"),
        (b"", "not an IDX file"),
        (gzip.compress(b"\0\0"), not_images),
        (gzip.compress(b"\0\1" + whole[2:]), not_images),
        (gzip.compress(b"\0\0\x0d" + whole[3:]), not_images),
        (gzip.compress(whole[:-1]), r"holds 83 bytes, its header says \(7, 4, 3\)"),
        (gzip.compress(whole + b"x"), r"holds 85 bytes, its header says \(7, 4, 3\)"),
        (gzip.compress(whole[:9]), "x.gz ends within its header"),
    ],
    ids=[
        "plain bytes",
        "cut short",
        "garbled",
        "empty",
        "two bytes",
        "no leading zeros",
        "signed type",
        "a byte less",
        "a byte more",
        "half a header",
    ],
)
def test_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_idx(path)
    assert "\n" not in str(caught.value)
