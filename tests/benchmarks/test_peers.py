"""What a comparison trains is what is asked for, and of it all that can be."""

from __future__ import annotations

import shutil
from pathlib import Path

import peers
import pytest
import torch
from input_network import InputNetwork
from json_lines import RESULTS, read_lines
from peer_methods import Outcome, OutOfReachError
from peers import main

from archpress_trainer.space.build import build
from archpress_trainer.space.named import named
from tests.trainer.nets import small_net


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--work", "1e12", "--images", "6000", "--input-epochs", "6"], "images 12000, not 6000"),
        (["--input-epochs", "20"], "input_epochs 6, not 20"),
        (["--targets", "100"], "cannot be narrowed to 100 parameters"),
        (["--methods", "ours", "--targets", "100", "--images", "6000"], "images 12000, not 6000"),
        (["--methods", "ours", "--targets", "800000"], "no fewer than the input network's"),
    ],
)
def test_an_output_of_other_settings_is_refused(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "peers-progressive.jsonl"
    shutil.copy(RESULTS / "peers-progressive.jsonl", output)
    before = output.read_bytes()
    monkeypatch.setattr(peers, "input_network", None)
    monkeypatch.setattr(
        "sys.argv", ["peers.py", "--methods", "heir", "--output", str(output), *arguments]
    )
    with pytest.raises(SystemExit, match=message):
        main()
    assert output.read_bytes() == before


def test_a_method_out_of_reach_is_left_out_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def beyond(*_: object) -> Outcome:
        raise OutOfReachError("an epoch takes 2 of work, and 1 is left")

    def within(*_: object) -> Outcome:
        return Outcome(build(small_net(), torch.Generator()), 1, 0.5, 1.0)

    source = InputNetwork(
        build(named("conv-7", (1, 28, 28), 10), torch.Generator()), 0.9, 0.9, 1.0, 0.0
    )
    monkeypatch.setattr(peers, "METHODS", {"heir": beyond, "distillation": within})
    monkeypatch.setattr(peers, "input_network", lambda *_: source)
    monkeypatch.setattr(peers, "accuracy", lambda *_: 0.5)
    output = tmp_path / "lines.jsonl"
    command = ["peers.py", "--output", str(output), "--seeds", "2", "--targets", "20000"]
    monkeypatch.setattr("sys.argv", command)
    main()
    methods = [line["method"] for line in read_lines(output)]
    assert methods == ["input", "distillation", "distillation"]
    said = capsys.readouterr().out
    assert "heir 20000 1 is left out: an epoch takes 2 of work, and 1 is left" in said
