"""Which network comes first where no size is limited."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from archpress_server.compress.decode import Scored
from archpress_server.compress.reach import reaching
from archpress_server.compress.types import Budget, Request
from archpress_server.compress.unbounded import SmallestGood
from archpress_trainer.embedding.artifact import load
from archpress_trainer.embedding.interface import Embedding
from archpress_trainer.embedding.prediction import Prediction
from archpress_trainer.space.costs import count
from tests.trainer.nets import small_net

NET = small_net(32, second=64)


@pytest.fixture(scope="module")
def embedding(tiny_embedding: Path) -> Embedding:
    return load(tiny_embedding)


def scored(embedding: Embedding, width: int, above: float, second: int = 64) -> Scored:
    """Return a network predicted to be so much better than the input."""
    network = small_net(width, second=second)
    accuracy = embedding.predict([NET])[0].accuracy + above
    prediction = Prediction(accuracy, accuracy - 0.01, accuracy + 0.01)
    return Scored(network, count(network), prediction)


@pytest.fixture(scope="module")
def found(embedding: Embedding) -> list[Scored]:
    """Networks from good and large to bad and small, one larger than the input."""
    sizes = ((40, 0.02), (24, 0.01), (16, -0.001), (12, -0.05), (8, -0.1))
    return [scored(embedding, width, above) for width, above in sizes]


def widths(found: list[Scored]) -> list[int]:
    return [one.architecture.layers[0].out_channels for one in found]


@pytest.mark.parametrize(
    ("drop", "order"),
    [(None, [16, 24, 12, 8]), (0.0, [24, 16, 12, 8]), (0.06, [12, 16, 24, 8])],
)
def test_the_smallest_that_loses_little_comes_first(
    embedding: Embedding, found: list[Scored], drop: float | None, order: list[int]
) -> None:
    request = Request(NET, "tiny", Budget(max_accuracy_drop=drop))
    assert widths(SmallestGood(request, embedding).ranked(found)) == order


def test_the_smallest_that_will_reach_the_floor_comes_first(
    embedding: Embedding, found: list[Scored]
) -> None:
    reach_of = reaching(Request(NET, "tiny"), embedding.manifest.fidelity)
    reachable = [reach_of(one.prediction, one.costs.macs).quantile(0.9) for one in found]
    assert reachable == sorted(reachable, reverse=True)
    for place, first in ((1, 24), (2, 16), (3, 12), (4, 8)):
        request = Request(NET, "tiny", Budget(min_accuracy=reachable[place] - 1e-6))
        assert widths(SmallestGood(request, embedding).ranked(found))[0] == first


def test_below_the_labelled_networks_none_counts_as_good(embedding: Embedding) -> None:
    labelled = min(exemplar.costs.params for exemplar in embedding.exemplars)
    tiny, small = scored(embedding, 8, 0.1, second=8), scored(embedding, 8, 0.1)
    assert tiny.costs.params < labelled <= small.costs.params
    request = Request(NET, "tiny", Budget(max_accuracy_drop=0.0))
    assert SmallestGood(request, embedding).ranked([tiny, small]) == [small, tiny]
    request = replace(request, architecture=small_net(12, second=12))
    assert SmallestGood(request, embedding).ranked([tiny]) == [tiny]
    larger = scored(embedding, 12, 0.2, second=12)
    assert SmallestGood(request, embedding).ranked([larger, tiny]) == [tiny, larger]


def test_few_images_ask_for_larger_networks(embedding: Embedding, found: list[Scored]) -> None:
    plain = Request(NET, "tiny")
    few = reaching(plain, embedding.manifest.fidelity, 900)
    floor = few(found[1].prediction, found[1].costs.macs).quantile(0.9) - 1e-6
    request = Request(NET, "tiny", Budget(min_accuracy=floor))
    assert widths(SmallestGood(request, embedding).ranked(found))[0] < 24
    assert widths(SmallestGood(request, embedding, 900).ranked(found))[0] == 24


@pytest.mark.parametrize("budget", [Budget(), Budget(min_accuracy=0.1)], ids=["drop", "floor"])
def test_what_is_predicted_as_no_number_is_not_good(
    embedding: Embedding, found: list[Scored], budget: Budget
) -> None:
    unknown = replace(found[-1], prediction=Prediction(math.nan, math.nan, math.nan))
    order = SmallestGood(Request(NET, "tiny", budget), embedding).ranked([*found[:-1], unknown])
    assert order[0] is not unknown


def test_floor_and_drop_both_hold(embedding: Embedding, found: list[Scored]) -> None:
    request = Request(NET, "tiny", Budget(min_accuracy=0.0, max_accuracy_drop=0.0))
    assert widths(SmallestGood(request, embedding).ranked(found))[0] == 24


def test_larger_networks_come_where_there_are_no_others(
    embedding: Embedding, found: list[Scored]
) -> None:
    assert widths(SmallestGood(Request(NET, "tiny"), embedding).ranked(found[:1])) == [40]
    assert count(found[0].architecture).params > count(NET).params
