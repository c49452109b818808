"""Branches of training are folded into convolutions that give the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from branches import Branched, branched, fold, main

from archpress_trainer.space.build import build
from archpress_trainer.space.named import named
from tests.benchmarks.other_settings import assert_refused


@pytest.mark.parametrize("name", ["conv-7", "vgg-16-bn"])
def test_a_folded_network_gives_the_same(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    network = branched(build(named(name, (1, 28, 28), 10), generator), generator)
    images = torch.randn(8, 1, 28, 28, generator=generator)
    with torch.no_grad():
        for _ in range(3):
            network.train()(images)
        before = network.eval()(images)
        number = sum(isinstance(layer, Branched) for layer in network.layers)
        after = fold(network)(images)
    assert number >= 6
    assert not any(isinstance(layer, Branched) for layer in network.layers)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "12000", "--epochs", "1"], "recipe epochs 10, not 1"),
        (["--images", "100"], "images 12000, not 100"),
    ],
)
def test_an_output_of_other_settings_is_refused(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_refused(main, "branches", arguments, message, tmp_path, monkeypatch)
