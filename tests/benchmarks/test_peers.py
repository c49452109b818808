"""Trainings of other settings are not taken for those that are asked for."""

from __future__ import annotations

import shutil
from pathlib import Path

import peers
import pytest
from json_lines import RESULTS
from peers import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--work", "1e12", "--images", "6000", "--input-epochs", "6"], "images 12000, not 6000"),
        (["--work", "1e12", "--images", "12000"], "input_epochs 6, not 20"),
        (["--targets", "100"], "cannot be narrowed to 100 parameters"),
    ],
)
def test_an_output_of_other_settings_is_refused(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "peers-progressive.jsonl"
    shutil.copy(RESULTS / "peers-progressive.jsonl", output)
    before = output.read_bytes()
    monkeypatch.setattr(peers, "input_network", None)
    monkeypatch.setattr(
        "sys.argv", ["peers.py", "--methods", "heir", "--output", str(output), *arguments]
    )
    with pytest.raises(SystemExit, match=message):
        main()
    assert output.read_bytes() == before
