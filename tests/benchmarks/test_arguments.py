"""Command lines that cannot be are refused in one line, with the value that is wrong."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from pathlib import Path

import pytest
from arguments import (
    existing,
    named_path,
    named_value,
    output_file,
    positive,
    positive_number,
    usage_errors,
)
from json_lines import JsonLines

from archpress_trainer.data.registry import DataSources
from archpress_trainer.embedding.bundled import artifact_folder

Type = Callable[[str], object]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (positive, "0"),
        (positive, "-1"),
        (positive, "1.5"),
        (positive_number, "0"),
        (positive_number, "nan"),
        (positive_number, "inf"),
        (positive_number, "much"),
        (existing, "/nonexistent"),
        (named_path, "name=/nonexistent"),
        (named_value, "name"),
        (output_file, "/dev/null/lines.jsonl"),
        (output_file, "/"),
    ],
)
def test_values_that_cannot_be(kind: Type, text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        kind(text)


def test_values_that_can_be(tmp_path: Path) -> None:
    assert positive("12") == 12
    assert positive_number("9e12") == 9e12
    assert existing(str(tmp_path)) == tmp_path
    assert named_path(f"name={tmp_path}") == ("name", tmp_path)
    assert named_value("name=a=b") == ("name", "a=b")


def test_an_output_is_tried_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lines.jsonl"
    assert output_file(str(path)) == path
    assert list(path.parent.iterdir()) == []
    path.write_text("lines")
    assert output_file(str(path)) == path
    assert path.read_text() == "lines"


def _other_lines(folder: Path) -> None:
    path = folder / "bad.jsonl"
    path.write_text("not json\n")
    JsonLines(path)


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda _: DataSources(download=False).load("nonsense"), "unknown data set 'nonsense'"),
        (lambda _: artifact_folder("nonsense"), "nonsense is no folder"),
        (lambda folder: (folder / "absent").read_text(), "absent"),
        (_other_lines, "bad.jsonl, line 1, is no JSON"),
    ],
)
def test_what_is_missing_ends_a_program_in_one_line(
    work: Callable[[Path], object],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as end, usage_errors(argparse.ArgumentParser()):
        work(tmp_path)
    assert end.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_fault_of_the_program_keeps_its_traceback() -> None:
    with pytest.raises(KeyError), usage_errors(argparse.ArgumentParser()):
        raise KeyError("a name")


@pytest.mark.parametrize(
    ("program", "work"),
    [
        ("ablations", "plan"),
        ("heads", "zero_cost_scores"),
        ("plans", "worker_pool"),
        ("population", "time_ours"),
        ("search", "paper_embedding"),
    ],
)
def test_a_fault_of_the_work_keeps_its_traceback(
    program: str, work: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object, **_options: object) -> None:
        raise OSError("no space left on device")

    module = importlib.import_module(program)
    monkeypatch.setattr(module, work, full)
    output = str(tmp_path / "output")
    monkeypatch.setattr("sys.argv", [f"{program}.py", "--output", output])
    with pytest.raises(OSError, match="no space left on device"):
        module.main()
