"""A file of an input network is used if it is of the same training, and is never replaced."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from input_network import EXACT, check_target, input_network

from archpress_trainer.data.registry import DataSources
from archpress_trainer.space.named import named
from archpress_trainer.training.recipe import Recipe
from tests.trainer.nets import small_net

RECIPE = Recipe("any", 1, batch_size=64)


def test_the_file_of_another_training_is_refused_and_kept(
    tmp_path: Path, tiny_sources: DataSources
) -> None:
    dataset = tiny_sources.load("tiny")
    data, test = dataset.split(), dataset.test()
    cache = tmp_path / "input.safetensors"
    first = input_network(cache, small_net(), data, test, RECIPE, 0, EXACT)
    kept = cache.read_bytes()
    same = replace(RECIPE, name="other", distil_weight=0.9)
    again = input_network(cache, small_net(), data, test, same, 0, EXACT)
    assert (again.validation, again.test) == (first.validation, first.test)
    for one, two in zip(first.network.parameters(), again.network.parameters(), strict=True):
        assert torch.equal(one, two)
    longer = replace(RECIPE, epochs=3, batch_size=32)
    with pytest.raises(
        SystemExit,
        match=r"input\.safetensors holds another training: recipe epochs 1, not 3; "
        "recipe batch_size 64, not 32; images .*, not 100; seed 0, not 1",
    ):
        input_network(cache, small_net(), data.subset(100), test, longer, 1, EXACT)
    with pytest.raises(SystemExit, match="holds another training: network"):
        input_network(cache, small_net(12), data, test, RECIPE, 0, EXACT)
    assert cache.read_bytes() == kept


def test_a_file_of_something_else_is_refused(tmp_path: Path, tiny_sources: DataSources) -> None:
    dataset = tiny_sources.load("tiny")
    cache = tmp_path / "input.safetensors"
    cache.write_text("no network")
    with pytest.raises(SystemExit, match=r"input\.safetensors is no file of a trained network"):
        input_network(cache, small_net(), dataset.split(), dataset.test(), RECIPE, 0, EXACT)
    assert cache.read_text() == "no network"


def test_targets_that_no_narrowing_reaches_are_refused() -> None:
    network = named("conv-7", (1, 28, 28), 10)
    check_target(network, 20_000)
    with pytest.raises(SystemExit, match="cannot be narrowed to 100 parameters"):
        check_target(network, 100)
    with pytest.raises(SystemExit, match="no fewer than the input network's"):
        check_target(network, 1_000_000)
