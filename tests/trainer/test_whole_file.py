"""A file that is written whole: old or new, and nothing beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from archpress_trainer.whole_file import whole_file, write_atomically


def test_nothing_is_left_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_atomically(path, b"old")

    def killed() -> None:
        with whole_file(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_that_write_at_one_time_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with whole_file(path) as first, whole_file(path) as second:
        assert len(list(tmp_path.iterdir())) == 2
        first.write(b"first")
        second.write(b"second")
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_until_it_is_whole_it_is_told_by_its_prefix_and_may_be_secret(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with whole_file(path, prefix=".new-", mode=0o600):
        (beside,) = tmp_path.iterdir()
        assert beside.name.startswith(".new-")
        assert beside.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_mode & 0o777 == 0o600
