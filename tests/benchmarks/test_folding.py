"""Trainings of other settings are not taken for those that are asked for."""

from __future__ import annotations

import shutil
from pathlib import Path

import folding
import pytest
from folding import main
from json_lines import RESULTS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "100"], "images 12000, not 100"),
        (["--images", "12000", "--epochs", "8"], "input_epochs 6, not 20"),
        (["--images", "12000", "--input-epochs", "6"], "recipes draft epochs 8, not 20"),
    ],
)
def test_an_output_of_other_settings_is_refused(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "folding.jsonl"
    shutil.copy(RESULTS / "folding.jsonl", output)
    before = output.read_bytes()
    monkeypatch.setattr(folding, "input_network", None)
    monkeypatch.setattr("sys.argv", ["folding.py", "--output", str(output), *arguments])
    with pytest.raises(SystemExit, match=message):
        main()
    assert output.read_bytes() == before
