"""Files that change, for good or bad."""

from __future__ import annotations

from pathlib import Path

import pytest

from archpress_server.auth.reloaded import Reloaded


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "number"
    path.write_text("1")
    return path


def test_new_content_is_taken_once(path: Path) -> None:
    failures: list[str] = []
    number = Reloaded("number", [path], lambda: int(path.read_text()), failures.append)
    assert not number.refresh()
    path.write_text("22")
    assert number.refresh()
    assert not number.refresh()
    assert (number.value, failures) == (22, [])


def test_wrong_content_is_told_once_and_leaves_the_old(path: Path) -> None:
    failures: list[str] = []
    number = Reloaded("number", [path], lambda: int(path.read_text()), failures.append)
    path.write_text("none")
    # It might be in the middle of being written.
    assert not number.refresh()
    assert failures == []
    for _ in range(3):
        assert not number.refresh()
    assert (number.value, failures) == (1, ["number"])
    path.write_text("333")
    assert number.refresh()
    assert number.value == 333


def test_two_files_may_be_replaced_one_after_the_other(tmp_path: Path) -> None:
    paths = [tmp_path / "a", tmp_path / "b"]

    def write(index: int, text: str) -> None:
        paths[index].write_text(text)

    def load() -> str:
        first, second = (path.read_text() for path in paths)
        if first != second:
            raise ValueError("they differ")
        return first

    write(0, "1")
    write(1, "1")
    failures: list[str] = []
    pair = Reloaded("pair", paths, load, failures.append)
    write(0, "22")
    assert not pair.refresh()
    write(1, "22")
    assert pair.refresh()
    assert (pair.value, failures) == ("22", [])


def test_the_look_goes_on_whatever_a_library_raises(path: Path) -> None:
    class OddError(Exception):
        pass

    def load() -> int:
        if path.read_text() == "odd":
            raise OddError
        return int(path.read_text())

    failures: list[str] = []
    number = Reloaded("number", [path], load, failures.append)
    path.write_text("odd")
    assert not number.refresh()
    assert not number.refresh()
    assert (number.value, failures) == (1, ["number"])
    path.write_text("22")
    assert number.refresh()


def test_wrong_content_at_the_start_is_an_error(path: Path) -> None:
    path.write_text("none")
    with pytest.raises(ValueError, match="none"):
        Reloaded("number", [path], lambda: int(path.read_text()), lambda what: None)
