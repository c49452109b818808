"""Which network is the result where the best one measures too slow, by what is measured of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest
import torch

from archpress_server.compress.choice import Choice
from archpress_server.compress.delivery import Delivery
from archpress_server.compress.retrain import Trained
from archpress_server.compress.types import (
    Budget,
    Candidate,
    Compression,
    CompressionError,
    FrontModel,
    Reason,
    Request,
)
from archpress_trainer.data.registry import DataSources
from archpress_trainer.space.build import build
from archpress_trainer.space.costs import count
from tests.server.compress.recorder import Recorder
from tests.trainer.nets import small_net

NET = small_net(8)
NETWORK = build(NET, torch.Generator())


def trained(rank: int, accuracy: float, *others: Trained, params: int = 1_000) -> Trained:
    costs = replace(count(NET), params=params)
    return Trained(Candidate(NET, costs, None, rank, accuracy), NETWORK, others=others)


@dataclass(frozen=True)
class Scripted(Delivery):
    """Certifies those candidates whose latency it has, by rank."""

    template: FrontModel
    latencies: Mapping[int, float]
    asked: list[int]
    beginnings: list[int]

    def certified(self, trained: Trained, place: int, *, begins: bool) -> FrontModel:
        rank = trained.candidate.rank
        self.asked.append(rank)
        if begins:
            self.beginnings.append(rank)
        if rank not in self.latencies:
            raise CompressionError(Reason.CERTIFICATION_FAILED, "the file computes other logits")
        certificate = self.template.certificate
        latency = replace(certificate.latency, median_seconds=self.latencies[rank])
        return replace(self.template, certificate=replace(certificate, latency=latency))


@dataclass
class Outcome:
    """What was chosen, what was certified for that, and how often another one was trained.

    `beginnings` are those of `asked` with which a delivery begins, `again` has the models of the
    other sizes, asked for afterwards.
    """

    rank: int
    asked: list[int]
    beginnings: list[int]
    trainings: int
    warnings: list[str]
    again: list[FrontModel | None]


@pytest.fixture
def choose(with_all: Compression, tiny_sources: DataSources) -> Chooser:
    return Chooser(with_all.front[0], tiny_sources)


@dataclass
class Chooser:
    """Chooses below a limit of one second."""

    template: FrontModel
    sources: DataSources

    def __call__(
        self,
        latencies: Mapping[int, float],
        sizes: list[Trained],
        following: Trained | None = None,
    ) -> Outcome:
        dataset, recorder = self.sources.load("tiny"), Recorder()
        asked, beginnings = list[int](), list[int]()
        request = Request(NET, "tiny", Budget(max_params=2_000, max_latency_seconds=1.0))
        data, found = dataset.split(), (self.template, latencies, asked, beginnings)
        delivery = Scripted(request, dataset, data, recorder, 1, 1, *found)
        trainings = []

        def train_next() -> Trained | None:
            trainings.append(following)
            return following

        choice = Choice(delivery)
        chosen = choice.result(sizes[0], sizes, train_next)
        again = [choice.other(size) for size in sizes if size is not chosen]
        rank, warnings = chosen.candidate.rank, recorder.warnings
        return Outcome(rank, asked, beginnings, len(trainings), warnings, again)


def test_the_best_is_the_result_where_it_is_fast_enough(choose: Chooser) -> None:
    outcome = choose({1: 1.0}, [trained(1, 0.9, trained(2, 0.8))])
    assert (outcome.rank, outcome.asked, outcome.trainings) == (1, [1], 0)


def test_what_was_trained_in_full_comes_before_another_training(choose: Chooser) -> None:
    sizes = [trained(1, 0.9, trained(2, 0.8), trained(3, 0.7))]
    outcome = choose({1: 2.0, 2: 2.0, 3: 0.5}, sizes)
    assert (outcome.rank, outcome.asked, outcome.trainings) == (3, [1, 2, 3], 0)


def test_one_more_is_trained_where_all_were_too_slow(choose: Chooser) -> None:
    sizes = [trained(1, 0.9, trained(2, 0.8))]
    outcome = choose({1: 2.0, 2: 2.0, 3: 0.5}, sizes, trained(3, 0.6))
    assert (outcome.rank, outcome.trainings) == (3, 1)
    assert choose({1: 2.0, 2: 2.0}, sizes).rank == 1


def test_a_delivery_begins_anew_only_after_another_training(choose: Chooser) -> None:
    sizes = [trained(1, 0.9, trained(2, 0.8)), trained(5, 0.7, params=600)]
    outcome = choose({1: 2.0, 2: 2.0, 5: 0.5}, sizes, trained(3, 0.6))
    assert (outcome.asked, outcome.beginnings) == ([1, 2, 3, 5], [1, 3])
    assert choose({1: 2.0, 2: 2.0, 5: 0.5}, sizes).beginnings == [1]


def test_of_those_that_are_too_slow_the_most_accurate_is_kept(choose: Chooser) -> None:
    slow = {1: 2.0, 2: 3.0}
    assert choose(slow, [trained(1, 0.9)], trained(2, 0.8)).rank == 1
    assert choose(slow, [trained(1, 0.9)], trained(2, 0.95)).rank == 2


def test_a_failed_certificate_of_another_one_costs_only_that(choose: Chooser) -> None:
    sizes = [trained(1, 0.9, trained(2, 0.8))]
    outcome = choose({1: 2.0}, sizes, trained(3, 0.6))
    assert outcome.rank == 1
    assert outcome.warnings == [
        f"candidate {rank} is left out: the file computes other logits" for rank in (2, 3)
    ]
    assert choose({1: 2.0, 3: 0.5}, sizes, trained(3, 0.6)).rank == 3
    with pytest.raises(CompressionError, match="other logits"):
        choose({}, sizes)


def test_a_smaller_model_that_is_better_than_the_next_one_is_the_result(choose: Chooser) -> None:
    sizes = [trained(1, 0.9), trained(5, 0.8, params=600), trained(9, 0.5, params=300)]
    weak, strong = trained(2, 0.6), trained(2, 0.85)
    assert choose({1: 2.0, 2: 0.5, 5: 0.5}, sizes, weak).rank == 5
    assert choose({1: 2.0, 2: 0.5, 5: 2.0}, sizes, weak).rank == 2
    assert choose({1: 2.0, 2: 0.5}, sizes, strong).rank == 2


def test_a_smaller_model_is_the_result_where_no_large_one_is_fast_enough(choose: Chooser) -> None:
    sizes = [trained(1, 0.9), trained(5, 0.8, params=600), trained(9, 0.5, params=300)]
    outcome = choose({1: 2.0, 2: 2.0, 5: 2.0, 9: 0.5}, sizes, trained(2, 0.6))
    assert (outcome.rank, outcome.asked) == (9, [1, 2, 5, 9])
    assert choose({1: 2.0, 2: 2.0, 5: 0.5}, sizes, None).rank == 5


def test_who_was_left_out_stays_so(choose: Chooser) -> None:
    sizes = [trained(1, 0.9), trained(5, 0.8, params=600)]
    outcome = choose({1: 2.0}, sizes)
    assert outcome.rank == 1
    assert outcome.again == [None]
    assert outcome.asked == [1, 5]
    assert outcome.warnings == ["candidate 5 is left out: the file computes other logits"]
