"""A download is alone in its folder, for which nobody waits for ever, and leaves whole files."""

from __future__ import annotations

import errno
import fcntl
import logging
from pathlib import Path

import pytest

from archpress_trainer.data import download
from archpress_trainer.data.dataset import DatasetError
from archpress_trainer.data.download import alone, new_files


def test_nobody_waits_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(download, "WAIT_SECONDS", 0.05)
    monkeypatch.setattr(download, "_POLL_SECONDS", 0.01)
    lock = tmp_path / ".cifar10.lock"
    text = rf"cifar10: .* holds {lock}, takes longer than 0\.05 seconds"
    with (
        alone("cifar10", tmp_path),
        caplog.at_level(logging.WARNING),
        pytest.raises(DatasetError, match=text),
        alone("cifar10", tmp_path),
    ):
        pass
    assert caplog.messages == [f"cifar10: waiting for somebody else's download, which holds {lock}"]
    with alone("cifar10", tmp_path), alone("cifar100", tmp_path):
        pass


def test_what_killed_downloads_left_is_cleared_away(tmp_path: Path) -> None:
    for name in ("cifar10", "cifar100"):
        (tmp_path / f".{name}.new-x" / "folder").mkdir(parents=True)
    with alone("cifar10", tmp_path):
        left = [path.name for path in tmp_path.glob(".*.new-*")]
    assert left == [".cifar100.new-x"]


def test_without_locks_others_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    other = tmp_path / ".cifar10.new-x"
    other.mkdir()
    with alone("cifar10", tmp_path), alone("cifar10", tmp_path):
        assert other.is_dir()


def test_new_files_take_their_places_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "damaged").write_bytes(b"ol")
    (tmp_path / "a" / "archive.gz").write_bytes(b"archive")
    with new_files("cifar10", tmp_path, "a/*.gz") as folder:
        assert [path.name for path in (folder / "a").iterdir()] == ["archive.gz"]
        (folder / "a" / "damaged").write_bytes(b"new")
        (folder / "b").mkdir()
        (folder / "b" / "other").write_bytes(b"other")
        assert (tmp_path / "a" / "damaged").read_bytes() == b"ol"
        assert not (tmp_path / "b").exists()
    found = {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"damaged": b"new", "archive.gz": b"archive", "other": b"other"}
    assert not folder.exists()
