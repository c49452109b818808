"""Trainings of other settings are not taken for those that are asked for."""

from __future__ import annotations

from pathlib import Path

import inheritance
import pytest
from inheritance import main

from tests.benchmarks.other_settings import assert_refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "100"], "settings images 12000, not 100"),
        (["--epochs", "1"], "settings epochs 8, not 1"),
        (["--input-epochs", "1"], "settings input_epochs 6, not 1"),
        ([], "settings recipe distil_shift None, not 1"),
    ],
)
def test_an_output_of_other_settings_is_refused(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inheritance, "input_network", None)
    assert_refused(main, "inheritance", arguments, message, tmp_path, monkeypatch)


@pytest.mark.parametrize("target", ["100", "1000000"])
def test_a_target_that_no_form_has_is_refused(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "inheritance.jsonl"
    command = ["inheritance.py", "--output", str(output), "--targets", target]
    monkeypatch.setattr(inheritance, "input_network", None)
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit, match="parameters"):
        main()
