"""Trainings of other settings are not taken for those that are asked for."""

from __future__ import annotations

from pathlib import Path

import folding
import pytest
from folding import main

from tests.benchmarks.other_settings import assert_refused


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
    monkeypatch.setattr(folding, "input_network", None)
    assert_refused(main, "folding", arguments, message, tmp_path, monkeypatch)
