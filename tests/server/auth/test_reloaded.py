"""Files that change, for good or bad."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from archpress_server.auth.reloaded import Reloaded
from archpress_server.metrics import Metrics


class Told:
    """Keeps what is told."""

    def __init__(self) -> None:
        self.news: list[tuple[str, bool]] = []

    def __call__(self, what: str, failed: bool) -> None:
        self.news.append((what, failed))


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "number"
    path.write_text("1")
    return path


@pytest.fixture
def number(path: Path, told: Told) -> Reloaded[int]:
    return Reloaded("number", [path], lambda: int(path.read_text()), told)


def test_new_content_is_taken_once(path: Path, number: Reloaded[int], told: Told) -> None:
    assert not number.refresh()
    path.write_text("22")
    assert number.refresh()
    assert not number.refresh()
    assert (number.value, told.news) == (22, [])


def test_wrong_content_is_told_once_and_leaves_the_old(
    path: Path, number: Reloaded[int], told: Told
) -> None:
    path.write_text("none")
    # It might be in the middle of being written.
    assert not number.refresh()
    assert told.news == []
    for _ in range(3):
        assert not number.refresh()
    assert (number.value, told.news) == (1, [("number", True)])
    path.write_text("333")
    assert number.refresh()
    assert (number.value, told.news) == (333, [("number", True), ("number", False)])


def test_what_was_wrong_is_tried_again_though_no_file_changes(path: Path, told: Told) -> None:
    too_early = False

    def load() -> int:
        if too_early:
            raise ValueError("is not valid yet")
        return int(path.read_text())

    number = Reloaded("number", [path], load, told)
    too_early = True
    path.write_text("22")
    for _ in range(3):
        assert not number.refresh()
    too_early = False
    assert number.refresh()
    assert (number.value, told.news) == (22, [("number", True), ("number", False)])


def test_a_file_of_the_old_size_and_time_is_seen(path: Path, number: Reloaded[int]) -> None:
    before = path.stat()
    path.write_text("2")
    # Clocks of files tick every few milliseconds.
    while path.stat().st_ctime_ns == before.st_ctime_ns:
        os.utime(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert number.refresh()
    assert number.value == 2


def test_the_old_file_put_back_ends_the_fault(tmp_path: Path, told: Told) -> None:
    # As Kubernetes mounts secrets: a link to the folder of the newest.
    for name, text in (("good", "1"), ("bad", "none")):
        (tmp_path / name).write_text(text)
    link = tmp_path / "link"
    link.symlink_to("good")
    number = Reloaded("number", [link], lambda: int(link.read_text()), told)
    for target in ("bad", "bad", "good", "bad", "good"):
        link.unlink()
        link.symlink_to(target)
        assert not number.refresh()
    # The second time it was bad for one look only.
    assert told.news == [("number", True), ("number", False)]


def test_metrics_say_whether_the_last_change_is_wrong_and_how_many_were(path: Path) -> None:
    metrics = Metrics()
    number = Reloaded("tokens", [path], lambda: int(path.read_text()), metrics.observe_reload)

    def measured() -> list[float | None]:
        names = ("archpress_reload_failed", "archpress_reload_failures_total")
        return [metrics.registry.get_sample_value(name, {"what": "tokens"}) for name in names]

    assert measured() == [0, 0]
    path.write_text("none")
    for _ in range(4):
        number.refresh()
    assert measured() == [1, 1]
    path.write_text("333")
    number.refresh()
    assert measured() == [0, 1]


def test_two_files_may_be_replaced_one_after_the_other(tmp_path: Path, told: Told) -> None:
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
    pair = Reloaded("pair", paths, load, told)
    write(0, "22")
    assert not pair.refresh()
    write(1, "22")
    assert pair.refresh()
    assert (pair.value, told.news) == ("22", [])


def test_the_look_goes_on_whatever_a_library_raises(path: Path, told: Told) -> None:
    class OddError(Exception):
        pass

    def load() -> int:
        if path.read_text() == "odd":
            raise OddError
        return int(path.read_text())

    number = Reloaded("number", [path], load, told)
    path.write_text("odd")
    assert not number.refresh()
    assert not number.refresh()
    assert (number.value, told.news) == (1, [("number", True)])
    path.write_text("22")
    assert number.refresh()


def test_wrong_content_at_the_start_is_an_error(path: Path, told: Told) -> None:
    path.write_text("none")
    with pytest.raises(ValueError, match="none"):
        Reloaded("number", [path], lambda: int(path.read_text()), told)
