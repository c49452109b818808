"""One process at a time, where the file system can say so."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path

import pytest

from archpress_trainer.file_lock import lock_at_once


def refusing(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_a_lock_is_held_until_its_file_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("w") as file, path.open("w") as other:
        assert lock_at_once(file)
        with pytest.raises(BlockingIOError):
            lock_at_once(other)
        file.close()
        assert lock_at_once(other)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing(number, monkeypatch)
    with (tmp_path / "lock").open("w") as file:
        assert not lock_at_once(file)


def test_other_faults_are_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing(errno.EIO, monkeypatch)
    with (tmp_path / "lock").open("w") as file, pytest.raises(OSError, match="refused"):
        lock_at_once(file)
