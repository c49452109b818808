"""Result files that a killed benchmark goes on with, and none of another's."""

from __future__ import annotations

from pathlib import Path

import pytest
from json_lines import JsonLines, LinesError, read_lines


def test_half_a_line_of_a_killed_run_is_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    JsonLines(path).add({"seed": 0})
    path.write_text(path.read_text() + '{"seed": 1, "tes')
    lines = JsonLines(path)
    assert lines.holds({"seed": 0})
    assert not lines.holds({"seed": 1})
    lines.add({"seed": 1})
    assert read_lines(path) == [{"seed": 0}, {"seed": 1}]


def test_results_of_other_settings_are_not_added_to(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "lines.jsonl")
    lines.require({"epochs": 40})
    lines.add({"seed": 0, "epochs": 40})
    lines.require({"epochs": 40})
    with pytest.raises(SystemExit, match="begun with epochs 40, not 20"):
        lines.require({"epochs": 20})
    with pytest.raises(SystemExit, match="images None"):
        lines.require({"epochs": 40, "images": 12_000})
    with pytest.raises(SystemExit, match="choose another output"):
        lines.require({"epochs": None})


def test_the_setting_within_settings_that_differs_is_named(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "lines.jsonl")
    lines.add({"settings": {"recipe": {"epochs": 40, "rate": 0.1}}})
    lines.require({"settings": {"recipe": {"epochs": 40, "rate": 0.1}}})
    with pytest.raises(SystemExit, match=r"begun with settings recipe rate 0\.1, not 0\.2"):
        lines.require({"settings": {"recipe": {"epochs": 40, "rate": 0.2}}})
    with pytest.raises(SystemExit, match=r"settings recipe rate 0\.1, not None"):
        lines.require({"settings": {"recipe": {"epochs": 40}}})


def test_a_file_of_whole_lines_is_not_written_at_a_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lines.jsonl"
    JsonLines(path).add({"seed": 0})
    before = path.stat()
    monkeypatch.setattr(Path, "write_text", None)
    JsonLines(path)
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert read_lines(path) == [{"seed": 0}]


@pytest.mark.parametrize("line", [b"nonsense", b"5", b"[]", b"\xff\xfe"])
def test_a_file_of_something_else_is_named(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"seed": 0}\n' + line + b"\n")
    with pytest.raises(LinesError, match=r"lines\.jsonl, line 2"):
        JsonLines(path)
