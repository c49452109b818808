"""Gains of changed recipes are by seed, and an output of other settings is not gone on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import recipes
from json_lines import JsonLines
from recipes import main, summary


def line(change: str, seed: int, validation: float) -> dict[str, Any]:
    return {"change": change, "size": 20_000, "seed": seed, "validation": validation}


def test_a_gain_is_over_the_seeds_that_both_have() -> None:
    lines = [line("as it is", 0, 0.930), line("as it is", 1, 0.926), line("half the rate", 0, 0.93)]
    cell = summary(lines)["half the rate"]["20000"]
    assert (cell["n"], cell["pairs"], cell["gain"]) == (1, 1, 0.0)
    lines += [line("half the rate", 2, 0.99), line("half the rate", 1, 0.928)]
    cell = summary(lines)["half the rate"]["20000"]
    assert (cell["n"], cell["pairs"], cell["gain"]) == (3, 2, 0.1)
    assert summary(lines)["as it is"]["20000"]["gain"] == 0.0


def test_there_is_no_gain_without_a_base_line() -> None:
    cell = summary([line("half the rate", 0, 0.93)])["half the rate"]["20000"]
    assert (cell["n"], cell["mean"], cell["pairs"], cell["gain"]) == (1, 93.0, 0, None)


def test_other_settings_are_refused_before_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "recipes.jsonl"
    JsonLines(output).add({"dataset": "fashion-mnist", "recipe": {}, "images": 12_000})
    monkeypatch.setattr(recipes, "input_network", None)
    monkeypatch.setattr("sys.argv", ["recipes.py", "--output", str(output), "--images", "100"])
    with pytest.raises(SystemExit, match="begun with recipe name None, not"):
        main()
