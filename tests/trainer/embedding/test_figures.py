"""The data of a report's figures: the same after a round trip, one line for what is damaged."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from archpress_trainer.embedding.figures import (
    FIGURES_FILE,
    FigureData,
    FitCurves,
    HeldOutNets,
    read_figures,
    write_figures,
)
from archpress_trainer.embedding.manifest import ArtifactError

FIGURES = FigureData(
    FitCurves((50, 100), {"reconstruction": (2.5, 1.25), "total": (3.0, 1.5)}),
    HeldOutNets((0, 7), (0.5, 0.875), (0.625, 0.75), (0.25, 0.5)),
    {"kind": 1.0, "kernel": 0.998},
    {"duplicate": 3},
)
RECORD: dict[str, Any] = {
    "fit": {"iterations": [50, 100], "losses": {"reconstruction": [2.5, 1.25], "total": [3, 1.5]}},
    "held_out": {
        "index": [0, 7],
        "measured": [0.5, 0.875],
        "predicted": [0.625, 0.75],
        "half_width": [0.25, 0.5],
    },
    "reconstruction": {"kind": 1, "kernel": 0.998},
    "rejections": {"duplicate": 3},
}


def write(folder: Path, record: object) -> None:
    (folder / FIGURES_FILE).write_text(json.dumps(record))


def test_a_round_trip(tmp_path: Path) -> None:
    assert write_figures(tmp_path, FIGURES) == tmp_path / "figures.json"
    assert read_figures(tmp_path) == FIGURES


def test_what_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="came to values that are no numbers"):
        write_figures(tmp_path, replace(FIGURES, fit=FitCurves((1,), {"accuracy": (math.nan,)})))
    assert list(tmp_path.iterdir()) == []


def test_the_schema_is_fixed(tmp_path: Path) -> None:
    assert json.loads(json.dumps(FIGURES.to_json())) == RECORD
    write(tmp_path, RECORD)
    assert read_figures(tmp_path) == FIGURES


def test_no_file_is_no_data(tmp_path: Path) -> None:
    assert read_figures(tmp_path) is None


@pytest.mark.parametrize("record", [{}, {"fit": {}, "held_out": None, "rejections": {}}])
def test_empty_parts(tmp_path: Path, record: dict[str, Any]) -> None:
    write(tmp_path, record)
    assert read_figures(tmp_path) == FigureData()


def test_later_parts_are_passed_over(tmp_path: Path) -> None:
    fit = {**RECORD["fit"], "seconds": 12.5}
    write(tmp_path, {**RECORD, "fit": fit, "weather": "fine"})
    assert read_figures(tmp_path) == FIGURES


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ([], "has no attribute"),
        ({"fit": {"iterations": [1, 2], "losses": {"total": [1.0]}}}, "fit.losses.total has 1"),
        ({"fit": {"iterations": [1.5], "losses": {}}}, "1.5 is not a whole number"),
        ({"fit": {"iterations": [1], "losses": {"total": [float("nan")]}}}, "nan is not finite"),
        ({"fit": {"iterations": [1], "losses": {"total": ["x"]}}}, "'x' is not a number"),
        ({"fit": {"iterations": [True], "losses": {}}}, "True is not a number"),
        ({"held_out": {"index": [1]}}, "held_out.measured has 0 values, 1 are needed"),
        (
            {
                "held_out": {
                    "index": [1],
                    "measured": [91.5],
                    "predicted": [0.9],
                    "half_width": [1],
                }
            },
            "held_out.measured holds 91.5, which is not from 0 to 1",
        ),
        (
            {
                "held_out": {
                    "index": [1],
                    "measured": [0.9],
                    "predicted": [0.9],
                    "half_width": [-1],
                }
            },
            "held_out.half_width holds -1.0",
        ),
        ({"reconstruction": {"kind": 1.2}}, "reconstruction holds 1.2"),
        ({"reconstruction": [0.9]}, "has no attribute"),
        ({"rejections": {"duplicate": -1}}, "rejections holds -1"),
        ({"rejections": {"duplicate": 10**400}}, "too large"),
    ],
)
def test_damage_is_one_line(tmp_path: Path, damage: object, words: str) -> None:
    write(tmp_path, damage)
    with pytest.raises(ArtifactError) as caught:
        read_figures(tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{tmp_path / FIGURES_FILE} is damaged (")
    assert words in message


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe{}"])
def test_what_is_no_json(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FIGURES_FILE).write_bytes(content)
    with pytest.raises(ArtifactError, match=r"figures\.json is damaged"):
        read_figures(tmp_path)
