"""Files by content."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from archpress_server.jobs.artifacts import ArtifactFiles


def test_bytes_come_back_in_any_range(tmp_path: Path) -> None:
    files = ArtifactFiles(tmp_path / "new")
    sha256 = files.put(b"0123456789")
    assert sha256 == hashlib.sha256(b"0123456789").hexdigest()
    assert files.read(sha256, 0, 100) == b"0123456789"
    assert files.read(sha256, 3, 4) == b"3456"
    assert files.read(sha256, 10, 4) == b""


def test_putting_again_and_deleting_again_do_no_harm(tmp_path: Path) -> None:
    files = ArtifactFiles(tmp_path)
    assert files.put(b"a") == files.put(b"a")
    files.delete(files.put(b"a"))
    files.delete(hashlib.sha256(b"a").hexdigest())
    with pytest.raises(FileNotFoundError):
        files.read(hashlib.sha256(b"a").hexdigest(), 0, 1)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
