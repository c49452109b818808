"""Rows that cannot be measured say why; of the others what is missing is measured."""

from __future__ import annotations

import json
from pathlib import Path

import certificates
import pytest
from certificates import Bench, Settings
from json_lines import JsonLines
from paper_tables import INPUTS, REASONS_FILE, main

from archpress_server.compress.types import Effort


def run(monkeypatch: pytest.MonkeyPatch, results: Path, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["paper_tables.py", "--results", str(results), *arguments])
    main()


def test_what_certificates_say_is_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "certificates-draft.jsonl"
    settings = Settings(
        "fashion-mnist", None, Effort.DRAFT, "as it is", None, output, INPUTS["fashion-mnist"]
    )
    line = {**Bench(settings).common, "target_params": 93_000}
    lines = JsonLines(output)
    lines.add({**line, "seed": 0, "accuracy": 0.9403, "params": 92_806, "accuracy_before": 0.9415})
    lines.add({**line, "seed": 1, "failed": "every training diverged"})
    monkeypatch.setattr(certificates, "worker_pool", None)
    arguments = ("--rows", "fashion-mnist", "--effort", "draft", "--seeds", "2")
    run(monkeypatch, tmp_path, *arguments)
    told = capsys.readouterr().out
    assert "fashion-mnist, draft, seed 0: 94.03% @ 92,806 parameters" in told
    assert "the input network 94.15%" in told
    assert "fashion-mnist, draft, seed 1: every training diverged" in told
    assert not (tmp_path / REASONS_FILE).exists()


def test_an_empty_row_says_why_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for _ in range(2):
        run(monkeypatch, tmp_path, "--rows", "svhn", "--effort", "draft")
    [line] = (tmp_path / REASONS_FILE).read_text().splitlines()
    assert json.loads(line) == {
        "row": "svhn",
        "status": "empty",
        "reason": "its images are not at hand; see --data and --download",
    }
    assert "svhn: its images are not at hand" in capsys.readouterr().out


@pytest.mark.parametrize("pair", ["fashion-mnist", "fashion-mnist=/nonexistent"])
def test_data_that_are_named_must_be_there(
    pair: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, tmp_path, "--data", pair)
    assert pair.partition("=")[2] in capsys.readouterr().err


def test_data_that_are_named_must_be_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "images.npz"
    images.write_text("no images")
    arguments = ("--rows", "svhn", "--effort", "draft", "--data", f"svhn={images}")
    with pytest.raises(SystemExit):
        run(monkeypatch, tmp_path, *arguments)
    assert "images.npz" in capsys.readouterr().err
