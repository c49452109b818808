"""Rows that cannot be measured say why, and the others are measured all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import paper_tables
import pytest
import torch
from input_network import InputNetwork
from json_lines import read_lines
from paper_tables import main

from archpress_server.compress.types import FieldViolation, Reason, RequestError
from archpress_trainer.space.build import build
from archpress_trainer.space.graph import Architecture


def test_a_request_that_is_refused_is_a_failed_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caches: list[Path] = []

    def source(cache: Path, architecture: Architecture, *_: Any) -> InputNetwork:
        caches.append(cache)
        network = build(architecture, torch.Generator().manual_seed(0)).eval()
        return InputNetwork(network, 0.5, 0.5, 1e6, 0.0)

    def refuse(*_arguments: Any, **_options: Any) -> None:
        violation = FieldViolation("budget", "is too low", Reason.BUDGET_INFEASIBLE)
        raise RequestError((violation,))

    monkeypatch.setattr(paper_tables, "input_network", source)
    monkeypatch.setattr(paper_tables, "compress", refuse)
    output = tmp_path / "lines.jsonl"
    command = ["paper_tables.py", "--rows", "fashion-mnist", "--seeds", "2", "--output"]
    for images in ("100", "200"):
        monkeypatch.setattr("sys.argv", [*command, str(output), "--images", images])
        main()
    found = [line for line in read_lines(output) if line["what"] == "ours"]
    assert len(found) == 4
    for line in found:
        assert line["status"] == "failed"
        assert line["reason"] == "BUDGET_INFEASIBLE: budget: is too low"
    assert len(set(caches)) == 4, "one of each seed and fidelity"


@pytest.mark.parametrize("pair", ["fashion-mnist", "fashion-mnist=/nonexistent"])
def test_data_that_are_named_must_be_there(
    pair: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["paper_tables.py", "--data", pair])
    with pytest.raises(SystemExit):
        main()
    assert pair.partition("=")[2] in capsys.readouterr().err
