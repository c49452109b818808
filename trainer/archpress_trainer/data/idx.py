"""Reading the IDX files that MNIST and Fashion-MNIST are published in."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_UINT8 = 8


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Return the array in a gzipped IDX file of unsigned bytes.

    Raises:
        ValueError: the file is not gzip, not IDX of bytes, or shorter than its header says.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{path} is not a whole gzip file: {error}") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UINT8:
        raise ValueError(f"{path} is not an IDX file of unsigned bytes")
    dimensions = content[3]
    offset = 4 + 4 * dimensions
    if len(content) < offset:
        raise ValueError(f"{path} ends within its header")
    shape = tuple(np.frombuffer(content[4:offset], dtype=">u4").tolist())
    if len(content) != offset + int(np.prod(shape)):
        raise ValueError(f"{path} holds {len(content) - offset} bytes, its header says {shape}")
    return np.frombuffer(content, dtype=np.uint8, offset=offset).reshape(shape)
