"""The `archpress-trainer` command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from archpress_trainer.cli import app
from archpress_trainer.embedding.artifact import read_manifest

runner = CliRunner()


def one_error_line(*arguments: str) -> str:
    """Run a command that fails; return the single line that it says."""
    result = runner.invoke(app, list(arguments))
    assert result.exit_code == 1
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert len(lines) == 1
    assert lines[0].startswith("archpress-trainer: ")
    return lines[0]


def test_help_names_the_commands() -> None:
    result = runner.invoke(app, ["--help"])
    assert result.exit_code == 0
    assert "build" in result.stdout
    assert "show" in result.stdout


def test_an_unknown_data_set(tmp_path: Path) -> None:
    output = tmp_path / "out"
    line = one_error_line("build", "--dataset", "mnist", "--output", str(output))
    assert "unknown data set 'mnist'; known are fashion-mnist, cifar10" in line
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "none.npz"
    line = one_error_line("build", "--dataset", "own", "--data", str(path))
    assert f"{path}: there is no such file" in line


@pytest.mark.slow
def test_images_too_small_for_any_net(tmp_path: Path) -> None:
    path = tmp_path / "huge.npz"
    images, labels = np.zeros((8, 1, 600), np.uint8), np.arange(8) % 2
    np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels)
    line = one_error_line(
        "build", "--dataset", "own", "--data", str(path), "--output", str(tmp_path / "out")
    )
    assert "no new valid architecture" in line


@pytest.mark.parametrize("option", [("--nets", "3"), ("--epochs", "0"), ("--method", "magic")])
def test_options_out_of_range(option: tuple[str, str]) -> None:
    result = runner.invoke(app, ["build", *option])
    assert result.exit_code == 2
    assert option[0] in result.stderr


def test_show_prints_provenance_and_metrics(
    tiny_embedding: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    result = runner.invoke(app, ["show", str(tiny_embedding)])
    assert result.exit_code == 0
    manifest = read_manifest(tiny_embedding)
    assert manifest.name in result.stdout
    assert str(manifest.fidelity) in result.stdout
    assert "tau of predicted and measured accuracy" in result.stdout
    assert f"{manifest.metrics['mean_absolute_error']:g}" in result.stdout
    assert f"{manifest.metrics['interval_coverage']:g}" in result.stdout


def test_show_without_an_artifact(tmp_path: Path) -> None:
    line = one_error_line("show", str(tmp_path))
    assert "holds no embedding (manifest.json is missing)" in line


@pytest.mark.slow
def test_build_goes_on_where_it_was(tiny_dataset: Path, tmp_path: Path) -> None:
    output = tmp_path / "embedding"

    def build(*more: str) -> str:
        options = {
            "--dataset": "tiny",
            "--data": str(tiny_dataset),
            "--output": str(output),
            "--nets": "24",
            "--images": "64",
            "--epochs": "1",
            "--workers": "1",
            "--method": "paper",
            "--paper-iterations": "20",
        }
        arguments = [part for option in options.items() for part in option]
        result = runner.invoke(app, ["build", *arguments, *more])
        assert result.exit_code == 0, result.output
        return result.stdout

    said = build()
    assert "The embedding is in" in said
    records = tmp_path / "embedding.work" / "population" / "population.jsonl"
    first, manifest = records.read_bytes(), read_manifest(output)
    assert first.count(b"\n") == 24
    build()
    # A label holds its seconds: were one measured again, its line would differ.
    assert records.read_bytes() == first
    assert read_manifest(output) == manifest
    line = one_error_line(
        "build", "--dataset", "tiny", "--data", str(tiny_dataset), "--output", str(output)
    )
    assert "holds another population (it differs in fidelity, recipe)" in line
