"""Jobs that fail have a line that says why, and nothing is trained for an output of others."""

from __future__ import annotations

from pathlib import Path

import certificates
import pytest
from certificates import main
from json_lines import JsonLines, read_lines

SETTINGS = {
    "dataset": "fashion-mnist",
    "effort": "standard",
    "change": "as it is",
    "epochs": 40,
    "taught": True,
}


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> None:
    monkeypatch.setattr("sys.argv", ["certificates.py", *map(str, arguments)])
    main()


@pytest.mark.slow
def test_a_request_that_is_refused_is_a_failed_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "lines.jsonl"
    draft = ("--effort", "draft", "--seeds", "1", "--workers", "1", "--targets", "10")
    run(monkeypatch, *draft, "--output", output)
    [line] = read_lines(output)
    assert (line["target_params"], line["seed"], line["effort"]) == (10, 0, "draft")
    assert "max_params" in line["failed"]


def test_other_settings_are_refused_before_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "lines.jsonl"
    JsonLines(output).add({**SETTINGS, "epochs": 20})
    monkeypatch.setattr(certificates, "input_network", None)
    with pytest.raises(SystemExit, match="begun with epochs 20, not 40"):
        run(monkeypatch, "--output", output)


def test_an_input_network_that_is_named_must_be_there_and_of_the_same_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output, source = tmp_path / "lines.jsonl", tmp_path / "input.safetensors"
    with pytest.raises(SystemExit):
        run(monkeypatch, "--output", output, "--input", source)
    assert f"there is no {source}" in capsys.readouterr().err
    source.write_text("no network")
    with pytest.raises(SystemExit, match="is no file of a trained network"):
        run(monkeypatch, "--output", output, "--input", source)
    assert source.read_text() == "no network"
