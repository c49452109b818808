"""Result files that a killed benchmark goes on with, and none of another's."""

from __future__ import annotations

from pathlib import Path

import pytest
from json_lines import JsonLines, read_lines


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
