"""The committed table of imported networks is of all of them."""

from __future__ import annotations

import json
from pathlib import Path

import import_zoo
import pytest
from import_zoo import main


@pytest.mark.parametrize("also", [[], ["--output", "zoo.json"], ["--page", "zoo.md"]])
def test_some_networks_do_not_replace_the_committed_table(
    also: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(import_zoo, "PAGE", tmp_path / "committed.md")
    monkeypatch.setattr(import_zoo, "RESULTS", tmp_path)
    monkeypatch.setattr("sys.argv", ["import_zoo.py", "alexnet", *also])
    with pytest.raises(SystemExit):
        main()
    assert "some need --output and --page" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_some_networks_go_to_files_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, page = tmp_path / "zoo.json", tmp_path / "zoo.md"
    command = ["import_zoo.py", "squeezenet1_1", "--output", str(output), "--page", str(page)]
    monkeypatch.setattr("sys.argv", command)
    main()
    [row] = json.loads(output.read_text())["rows"]
    assert row["name"] == "squeezenet1_1"
    assert "squeezenet1_1" in page.read_text()


def test_a_network_that_is_unknown_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["import_zoo.py", "nonsense"])
    with pytest.raises(SystemExit):
        main()
    assert "torchvision has no network 'nonsense'" in capsys.readouterr().err
