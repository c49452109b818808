"""The sizes of one request: how many, how small, and what each ends with."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from archpress_server.compress import ladder
from archpress_server.compress.ladder import Ladder, kept_ladder, plan_sizes, size_of
from archpress_server.compress.planning import plan
from archpress_server.compress.types import Budget, Candidate, Plan, Request, RequestError
from archpress_trainer.embedding.artifact import load
from archpress_trainer.embedding.interface import Embedding
from archpress_trainer.embedding.manifest import Manifest
from archpress_trainer.embedding.prediction import Prediction
from archpress_trainer.space.costs import count
from archpress_trainer.space.width_groups import WidthGroups
from tests.trainer.nets import small_net

NET = small_net(32, second=32)
BUDGET = Budget(max_params=6_000)


@pytest.fixture(scope="module")
def embedding(tiny_embedding: Path) -> Embedding:
    return load(tiny_embedding)


@pytest.fixture(scope="module")
def manifest(embedding: Embedding) -> Manifest:
    return embedding.manifest


def planned(embedding: Embedding, budget: Budget, number: int) -> list[list[Candidate]]:
    request = Request(NET, "tiny", budget, pareto_models=number)
    found = plan_sizes(request, embedding, 3, inheriting=False, on_progress=lambda _: None)
    return [list(candidates) for candidates in found.sizes]


@pytest.mark.parametrize(
    "budget",
    [Budget(max_params_ratio=0.5), Budget(max_macs=100_000), Budget()],
    ids=["params", "macs", "none"],
)
def test_each_size_has_three_fifths_of_the_one_before(embedding: Embedding, budget: Budget) -> None:
    sizes = planned(embedding, budget, 2)
    cost = size_of(budget)
    assert len(sizes) == 2
    for larger, smaller in pairwise(sizes):
        limit = 0.6 * max(cost(c.costs) for c in larger)
        assert max(cost(c.costs) for c in smaller) <= limit


@pytest.mark.parametrize("inheriting", [True, False])
def test_each_size_ends_with_the_narrowed_input(embedding: Embedding, inheriting: bool) -> None:
    request = Request(NET, "tiny", BUDGET, pareto_models=2)
    found = plan_sizes(request, embedding, 3, inheriting=inheriting, on_progress=lambda _: None)
    for candidates in found.sizes:
        *searched, last = candidates
        assert WidthGroups(NET).with_widths(WidthGroups(last.architecture).widths) == (
            last.architecture
        )
        assert not any(candidate.inherits for candidate in searched)
        assert last.inherits is inheriting
        assert last.rank == searched[-1].rank + 1


def test_sizes_share_no_network_and_each_is_asked_for_as_many(
    embedding: Embedding, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, frozenset[str]]] = []

    def watched(request: Request, embedding: Embedding, most: int, **options: Any) -> Plan:
        asked.append((most, options.get("known", frozenset())))
        return plan(request, embedding, most, **options)

    monkeypatch.setattr(ladder, "plan", watched)
    sizes = planned(embedding, BUDGET, 3)
    digests = [candidate.architecture.digest for size in sizes for candidate in size]
    assert len(set(digests)) == len(digests)
    ranks = [candidate.rank for size in sizes for candidate in size]
    assert ranks == list(range(1, len(ranks) + 1))
    earlier = len(sizes[0]) + len(sizes[1])
    assert asked[2] == (3, frozenset(digests[:earlier]))
    assert [most for most, _ in asked] == [3, 3, 3]


@pytest.mark.parametrize("inheriting", [True, False])
def test_an_heir_that_the_search_found_too_inherits_all_the_same(
    embedding: Embedding, monkeypatch: pytest.MonkeyPatch, inheriting: bool
) -> None:
    def finding(*arguments: Any, **options: Any) -> Plan:
        found = plan(*arguments, **options)
        assert found.heir is not None
        return replace(found, heir=replace(found.candidates[1], inherits=True))

    monkeypatch.setattr(ladder, "plan", finding)
    request = Request(NET, "tiny", BUDGET)
    found = plan_sizes(request, embedding, 3, inheriting=inheriting, on_progress=lambda _: None)
    (size,) = found.sizes
    assert [candidate.rank for candidate in size] == [1, 2, 3]
    assert [candidate.inherits for candidate in size] == [False, inheriting, False]


@pytest.mark.parametrize("narrowed", [True, False])
def test_a_size_without_proposals_is_that_of_the_narrowed_input(
    embedding: Embedding, monkeypatch: pytest.MonkeyPatch, narrowed: bool
) -> None:
    def finding(*arguments: Any, **options: Any) -> Plan:
        found = plan(*arguments, **options)
        if not options.get("known"):
            return found
        return replace(found, candidates=(), heir=found.heir if narrowed else None)

    monkeypatch.setattr(ladder, "plan", finding)
    request = Request(NET, "tiny", BUDGET, pareto_models=2)
    found = plan_sizes(request, embedding, 3, inheriting=True, on_progress=lambda _: None)
    assert [len(size) for size in found.sizes] == ([4, 1] if narrowed else [4])
    assert any("no other network keeps" in text for text in found.warnings) is not narrowed


def test_other_limits_hold_for_every_size(embedding: Embedding) -> None:
    for candidates in planned(embedding, Budget(max_params=6_000, max_macs=150_000), 2):
        assert all(c.costs.macs <= 150_000 for c in candidates)


def test_the_first_size_is_the_request_with_one_model(embedding: Embedding) -> None:
    assert planned(embedding, BUDGET, 2)[0] == planned(embedding, BUDGET, 1)[0]


def test_an_accuracy_floor_holds_for_the_first_size_alone(
    embedding: Embedding, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def watched(request: Request, *arguments: Any, **options: Any) -> Plan:
        asked.append(request.budget.min_accuracy)
        return plan(request, *arguments, **options)

    monkeypatch.setattr(ladder, "plan", watched)
    sizes = planned(embedding, replace(BUDGET, min_accuracy=0.9), 3)
    assert asked == [0.9, None, None]
    assert sizes == planned(embedding, BUDGET, 3)


def test_sizes_below_the_space_are_left_out(embedding: Embedding) -> None:
    request = Request(NET, "tiny", Budget(max_params=200), pareto_models=8)
    found = plan_sizes(request, embedding, 3, inheriting=False, on_progress=lambda _: None)
    assert 1 <= len(found.sizes) < 8
    assert any(f"there are {len(found.sizes)} sizes, not 8" in text for text in found.warnings)
    with pytest.raises(RequestError):
        planned(embedding, Budget(max_params=1), 8)


@dataclass
class Memory:
    """Keeps parts as they are saved."""

    parts: dict[str, bytes] = field(default_factory=dict)

    def load(self, part: str) -> bytes | None:
        return self.parts.get(part)

    def save(self, part: str, content: bytes) -> None:
        self.parts[part] = content

    def due(self) -> bool:
        return False


COSTS = count(NET)
SIZES = (
    (Candidate(NET, COSTS, Prediction(0.9, 0.8, 0.95), 1), Candidate(NET, COSTS, None, 2)),
    (Candidate(NET, COSTS, None, 3, inherits=True),),
)
FOUND = Ladder(COSTS, SIZES, ("a warning",))
OTHER = replace(FOUND, warnings=("another one",))


def test_candidates_are_kept_for_another_attempt(manifest: Manifest) -> None:
    store = Memory()
    assert kept_ladder(store, manifest, lambda: FOUND) == FOUND
    assert kept_ladder(store, manifest, lambda: OTHER) == FOUND


@pytest.mark.parametrize("change", [{"name": "another"}, {"population_digest": "0" * 64}])
def test_another_embedding_finds_its_own_candidates(
    manifest: Manifest, change: dict[str, Any]
) -> None:
    store = Memory()
    kept_ladder(store, manifest, lambda: FOUND)
    assert kept_ladder(store, replace(manifest, **change), lambda: OTHER) == OTHER
    assert kept_ladder(store, manifest, lambda: FOUND) == FOUND


def _edit(**changes: object) -> Callable[[bytes], bytes]:
    return lambda content: json.dumps({**json.loads(content), **changes}).encode()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda _: b"",
        lambda _: b"\x80\x04N.",
        lambda _: b"[]",
        lambda _: b"{}",
        _edit(version=1),
        _edit(ladder={}),
        _edit(ladder=None),
        _edit(ladder={**FOUND.to_json(), "sizes": [[{"rank": 1}]]}),
    ],
    ids=["cut", "empty", "no-text", "list", "nothing", "old", "bare", "null", "candidate"],
)
def test_candidates_of_a_damaged_or_old_part_are_found_again(
    manifest: Manifest, damage: Callable[[bytes], bytes]
) -> None:
    store = Memory()
    kept_ladder(store, manifest, lambda: OTHER)
    store.parts = {part: damage(content) for part, content in store.parts.items()}
    assert kept_ladder(store, manifest, lambda: FOUND) == FOUND
    assert kept_ladder(store, manifest, lambda: OTHER) == FOUND
