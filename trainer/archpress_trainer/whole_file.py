"""Writing a file so that whoever reads it finds the old content or the new, never half."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(path: Path, *, prefix: str = ".", mode: int = 0o666) -> Iterator[BinaryIO]:
    """Yield a file beside a path, which it replaces once all of it is on the disk.

    Its name begins with `prefix` and is nobody else's; where something fails it is removed. Who may
    use it `mode` says, from the first moment on and as far as the umask lets it.
    """
    temporary = path.with_name(f"{prefix}{path.name}.{uuid.uuid4().hex}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file at once."""
    with whole_file(path) as file:
        file.write(content)
