"""The comparison of searches counts what it should, and only searches of one program."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import search
from json_lines import RESULTS
from rivals import OURS
from search import TARGETS, main, summary


def line(method: str, target: str, test: list[float], seed: int = 0) -> dict[str, Any]:
    trained = [{"predicted": 0.9, "validation": 0.89}]
    final = {"validation": test, "test": test, "params": 1}
    return {
        "method": method,
        "target": {"name": target},
        "seed": seed,
        "trained": trained,
        "final": final,
    }


def test_ours_is_compared_target_by_target() -> None:
    lines = [line(OURS, target, [0.9, 0.92]) for target in TARGETS]
    lines += [line("random search", target, [0.9, 0.9]) for target in TARGETS]
    lines += [line("evolution", target, [0.95, 0.95]) for target in TARGETS]
    # A search that finds nothing within the budget scores nothing.
    lines += [line("plain descent", target, []) for target in TARGETS]
    found = summary(lines)
    assert set(found["rivals"]) == {"random search", "evolution", "plain descent"}
    ahead, behind = found["rivals"]["random search"], found["rivals"]["evolution"]
    assert (ahead["n"], ahead["wins"], ahead["mean_difference"]) == (len(TARGETS), 12, 1.0)
    assert ahead["p"] < 0.001
    assert (behind["wins"], behind["mean_difference"]) == (0, -4.0)
    assert behind["p"] > 0.999
    assert found["rivals"]["plain descent"]["mean_difference"] == 91.0
    assert found["optimism_points"] == {"n": 12, "median": 1.0, "90th percentile": 1.0}


def test_all_searches_of_a_way_on_a_target_count() -> None:
    lines = [line(OURS, target, [0.9], seed) for target in TARGETS for seed in (0, 1, 2)]
    lines += [line(OURS, target, [0.94], seed=3) for target in TARGETS]
    lines += [line("evolution", target, [0.9]) for target in TARGETS]
    found = summary(lines)["rivals"]["evolution"]
    assert (found["searches_ours"], found["searches_other"]) == (4 * len(TARGETS), len(TARGETS))
    assert found["mean_difference"] == 1.0


@pytest.fixture
def committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the committed lines; nothing may be fitted, and there are no images."""
    monkeypatch.setattr(search, "paper_embedding", None)
    monkeypatch.setattr(search, "DataSources", None)
    return Path(shutil.copy(RESULTS / "search.jsonl", tmp_path))


@pytest.mark.parametrize("arguments", [["--seeds", "4"], ["--ways", "without caution"]])
def test_no_search_of_today_is_added_to_those_of_before(
    arguments: list[str], committed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = committed.read_bytes()
    monkeypatch.setattr("sys.argv", ["search.py", "--output", str(committed), *arguments])
    with pytest.raises(SystemExit, match="begun with ours starts 24, not 12: choose another"):
        main()
    assert committed.read_bytes() == before


def test_where_nothing_is_missing_there_is_the_summary(
    committed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = committed.read_bytes()
    command = ["search.py", "--dataset", "fashion-mnist", "--output", str(committed)]
    monkeypatch.setattr("sys.argv", command)
    main()
    assert capsys.readouterr().out == (RESULTS / "search.json").read_text()
    assert committed.read_bytes() == before
