"""Methods that are compared get equal work, and what they say of it is so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import peer_methods
import pytest
import torch
from input_network import InputNetwork
from peer_methods import METHODS, Comparison, OutOfReachError
from removal_policy import PolicySettings

from archpress_server.compress.types import RequestError
from archpress_trainer.data.registry import DataSources
from archpress_trainer.embedding.artifact import load
from archpress_trainer.space.build import build
from archpress_trainer.space.costs import count
from archpress_trainer.training import loop as training_loop
from archpress_trainer.training.device import Compute
from archpress_trainer.training.loop import Status
from archpress_trainer.training.recipe import Recipe
from tests.trainer.nets import small_net

NET = small_net(32, second=32)
MOST = 3_000


@pytest.fixture(scope="module")
def comparison(tiny_embedding: Path, tiny_sources: DataSources, cpu: Compute) -> Comparison:
    data = tiny_sources.load("tiny").split()
    source = InputNetwork(build(NET, torch.Generator().manual_seed(0)).eval(), 0.5, 0.5, 1e6, 0.0)
    return Comparison(
        data,
        cpu,
        Recipe("final", 1, batch_size=32, learning_rate=0.1, distil_weight=0.9),
        Recipe("round", 1, batch_size=32, learning_rate=0.1),
        # Some ten epochs of a third of the input network.
        10 * len(data.train) * count(NET).macs / 3,
        source,
        load(tiny_embedding),
        full_epochs=6,
        student_images=100,
        student_validation=100,
    )


@pytest.mark.parametrize("method", list(METHODS))
def test_no_method_spends_more_than_the_work(comparison: Comparison, method: str) -> None:
    if "pruning" in method:
        pytest.importorskip("torch_pruning")
    found = METHODS[method](comparison, MOST, 0)
    assert count(found.network.architecture).params <= MOST
    assert 0 < found.work <= comparison.work
    assert 0 <= found.search_work < found.work
    final = count(found.network.architecture).macs * len(comparison.data.train) * found.epochs
    assert final <= found.work - found.search_work + 1
    assert found.validation is not None
    assert (found.teacher_work > 0) == (method != "width-scaling")


def test_what_is_counted_is_what_is_trained(
    comparison: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, real = [], training_loop.train

    def train(network: Any, data: Any, recipe: Recipe, *arguments: Any, **options: Any) -> Any:
        trained.append(float(count(network.architecture).macs * len(data.train) * recipe.epochs))
        return real(network, data, recipe, *arguments, **options)

    monkeypatch.setattr(peer_methods, "train", train)
    for method in ("heir", "progressive-heir", "distillation", "width-scaling"):
        trained.clear()
        found = METHODS[method](comparison, MOST, 0)
        assert sum(trained) == found.work
        assert len(trained) == found.networks_trained


@pytest.mark.parametrize("seed", range(8))
def test_a_search_by_policies_leaves_the_final_training_its_half(
    comparison: Comparison, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = torch.Generator().manual_seed(seed)

    def train(*_arguments: Any, **_options: Any) -> Any:
        accuracy = float(torch.rand(1, generator=draws))
        return SimpleNamespace(accuracy=accuracy, status=Status.FINISHED)

    monkeypatch.setattr(peer_methods, "train", train)
    found = METHODS["layer-removal"](comparison, MOST, seed)
    assert found.search_work <= comparison.work / 2
    assert found.work <= comparison.work


@pytest.mark.parametrize(
    "method", ["width-scaling", "distillation", "heir", "layer-removal", "ours"]
)
def test_a_method_that_cannot_keep_to_the_work_says_so(comparison: Comparison, method: str) -> None:
    little = replace(comparison, work=1e4, full_epochs=1)
    with pytest.raises((OutOfReachError, RequestError)):
        METHODS[method](little, MOST, 0)


@pytest.mark.parametrize(
    ("most", "work", "message"),
    [
        (1, 1e12, r"10 were no network of at most 1 parameters, 0 needed more"),
        (MOST, 1e4, r", [1-9]\d* needed more than 2\.5e\+03 of work"),
    ],
)
def test_a_search_by_policies_without_a_student_says_why(
    comparison: Comparison, most: int, work: float, message: str
) -> None:
    little = replace(comparison, work=work, policies=PolicySettings(updates=2))
    with pytest.raises(OutOfReachError, match=message):
        METHODS["layer-removal"](little, most, 0)
