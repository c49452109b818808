"""The `archpress-trainer report` command."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from archpress_trainer.cli import app

runner = CliRunner()


def test_it_writes_one_file(paper_artifact: Path, tmp_path: Path) -> None:
    output = tmp_path / "report.html"
    result = runner.invoke(app, ["report", str(paper_artifact), "--output", str(output)])
    assert result.exit_code == 0, result.output
    assert "The report is in" in result.stdout
    assert list(tmp_path.iterdir()) == [output]
    assert output.read_text().startswith("<!DOCTYPE html>")
    assert output.stat().st_size < 3_000_000


def test_no_artifact(tmp_path: Path) -> None:
    output = tmp_path / "report.html"
    result = runner.invoke(app, ["report", str(tmp_path), "--output", str(output)])
    assert result.exit_code == 1
    assert "holds no embedding (manifest.json is missing)" in result.stderr
    assert not output.exists()


@pytest.mark.parametrize("library", ["matplotlib", "jinja2"])
def test_without_the_extra(
    library: str, paper_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(sys.modules):
        if name.startswith("archpress_trainer.report.") and not name.endswith(".errors"):
            monkeypatch.delitem(sys.modules, name)
        if name.partition(".")[0] == library:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_Missing(library), *sys.meta_path])
    result = runner.invoke(app, ["report", str(paper_artifact), "--output", str(tmp_path / "r")])
    assert result.exit_code == 1
    assert result.stderr == (
        f"archpress-trainer: a report needs {library}: pip install 'archpress-trainer[report]'\n"
    )


class _Missing:
    """Finds modules like an environment in which one library is not installed."""

    def __init__(self, library: str) -> None:
        self.library = library

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] == self.library:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
