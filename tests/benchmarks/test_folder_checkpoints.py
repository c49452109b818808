"""A benchmark that was killed goes on from its checkpoints, and ends as if it never stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from folder_checkpoints import FolderCheckpoints
from input_network import EXACT, InputNetwork, input_network

from archpress_trainer.data.registry import DataSources
from archpress_trainer.space.named import named
from archpress_trainer.training.recipe import Recipe


class Killed(BaseException):
    """What ends a run without its consent."""


def test_parts_are_kept_and_forgotten(tmp_path: Path) -> None:
    checkpoints = FolderCheckpoints(tmp_path / "of a job", every_seconds=0.0)
    assert not checkpoints.are_there
    assert checkpoints.load("part") is None
    checkpoints.save("part", b"one")
    checkpoints.save("part", b"two")
    assert FolderCheckpoints(tmp_path / "of a job").load("part") == b"two"
    assert checkpoints.are_there
    assert checkpoints.due()
    assert not FolderCheckpoints(tmp_path).due()
    checkpoints.clear()
    assert not checkpoints.are_there


def test_a_killed_training_of_the_input_network_goes_on(
    tmp_path: Path, tiny_sources: DataSources, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = tiny_sources.load("tiny")
    data, test = dataset.split(), dataset.test()
    network = named("conv-7", dataset.input_shape, dataset.classes)
    recipe = Recipe("short", 2, batch_size=len(data.train) // 4)

    def run(cache: str) -> InputNetwork:
        return input_network(tmp_path / cache, network, data, test, recipe, 0, EXACT)

    whole = run("whole.safetensors")
    save = FolderCheckpoints.save
    saved: list[str] = []

    def save_and_die(checkpoints: FolderCheckpoints, part: str, content: bytes) -> None:
        save(checkpoints, part, content)
        saved.append(part)
        if len(saved) == 5:
            raise Killed

    monkeypatch.setattr(FolderCheckpoints, "due", lambda _: True)
    monkeypatch.setattr(FolderCheckpoints, "save", save_and_die)
    with pytest.raises(Killed):
        run("killed.safetensors")
    resumed = run("killed.safetensors")
    for name, value in whole.network.state_dict().items():
        assert torch.equal(resumed.network.state_dict()[name], value), name
    assert len(saved) == 5 + 3 + 1, "of 8 steps and the end"
    assert not (tmp_path / "killed.checkpoints").exists()
