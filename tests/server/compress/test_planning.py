"""Plans: valid, within hard budgets, repeatable, and honest about odd inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archpress_server.compress.decode import LabelledRange, SearchSettings
from archpress_server.compress.descent import DescentSettings
from archpress_server.compress.planning import plan
from archpress_server.compress.search import PlanSettings, Search
from archpress_server.compress.small_networks import smallest_networks
from archpress_server.compress.types import (
    Budget,
    Phase,
    Progress,
    Reason,
    Request,
    RequestError,
)
from archpress_trainer.embedding.artifact import load
from archpress_trainer.embedding.codec import OutsideSpaceError
from archpress_trainer.embedding.interface import Embedding, PointPrediction
from archpress_trainer.embedding.prediction import Prediction
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layers import (
    add,
    conv,
    global_average_pool,
    linear,
    relu,
)
from tests.server.compress.predicted import predicted
from tests.trainer.nets import small_net

NET = small_net(32)
QUICK = PlanSettings(
    starts=6,
    descent=DescentSettings(steps=3),
    search=SearchSettings(rounds=1, parents=3, children=3),
)


@pytest.fixture(scope="module", params=["tiny_embedding", "tiny_residual_embedding"])
def embedding(request: pytest.FixtureRequest) -> Embedding:
    return load(request.getfixturevalue(request.param))


@settings(max_examples=15)
@given(
    max_params=st.one_of(st.none(), st.integers(60, 40_000)),
    max_macs=st.one_of(st.none(), st.integers(1_000, 3_000_000)),
    seed=st.integers(0, 2**64 - 1),
)
def test_candidates_keep_to_any_feasible_budget(
    embedding: Embedding, max_params: int | None, max_macs: int | None, seed: int
) -> None:
    least = [count(network) for network in smallest_networks(embedding.manifest.space)]
    if max_params is not None:
        max_params = max(max_params, *(costs.params for costs in least))
    if max_macs is not None:
        max_macs = max(max_macs, *(costs.macs for costs in least))
    request = Request(NET, "tiny", Budget(max_params=max_params, max_macs=max_macs), seed=seed)
    found = plan(request, embedding, 5, settings=QUICK)
    assert found.candidates
    for rank, candidate in enumerate(found.candidates, start=1):
        assert candidate.rank == rank
        assert candidate.costs == count(candidate.architecture)
        assert max_params is None or candidate.costs.params <= max_params
        assert max_macs is None or candidate.costs.macs <= max_macs
        prediction = predicted(candidate)
        assert 0 <= prediction.lower <= prediction.accuracy <= prediction.upper <= 1


def test_the_same_seed_plans_the_same(embedding: Embedding) -> None:
    request = Request(NET, "tiny", Budget(max_params=3_000), seed=5)
    # The population's best are the same for every seed.
    drawn = replace(QUICK, known=0)
    first, second = (plan(request, embedding, 4, settings=drawn) for _ in range(2))
    assert first.candidates == second.candidates
    other = plan(replace(request, seed=6), embedding, 4, settings=drawn)
    assert other.candidates != first.candidates


def test_candidates_are_ranked_by_their_lower_bound_and_distinct(embedding: Embedding) -> None:
    request = Request(NET, "tiny", Budget(max_params=3_000))
    found = plan(request, embedding, 6, settings=QUICK)
    digests = {candidate.architecture.digest for candidate in found.candidates}
    assert len(digests) == len(found.candidates) == 6
    best = max(predicted(candidate).lower for candidate in found.candidates)
    assert predicted(found.candidates[0]).lower == best


def test_proposals_never_repeat(embedding: Embedding) -> None:
    search = Search(Request(NET, "tiny", Budget(max_params=3_000)), embedding, QUICK)
    search.run()
    digests = [s.architecture.digest for _ in range(3) for s in search.propose(3)]
    assert len(set(digests)) == len(digests) == 9


def test_the_populations_best_join_the_search(embedding: Embedding) -> None:
    budget = Budget(max_params=3_000)
    narrow = replace(QUICK, starts=1, known=0)
    alone, helped = (
        plan(Request(NET, "tiny", budget), embedding, 1, settings=replace(narrow, known=known))
        for known in (0, 100)
    )
    assert predicted(helped.candidates[0]).lower >= predicted(alone.candidates[0]).lower
    best = max(embedding.exemplars, key=lambda exemplar: exemplar.accuracy)
    loose = Budget(max_params=best.costs.params, max_macs=best.costs.macs)
    settings = replace(narrow, known=1, search=SearchSettings(rounds=0))
    found = plan(Request(NET, "tiny", loose), embedding, 9, settings=settings)
    assert best.architecture.digest in [c.architecture.digest for c in found.candidates]


def test_a_net_with_skips_is_planned_with_a_warning_among_chains(tiny_embedding: Path) -> None:
    embedding = load(tiny_embedding)
    residual = Architecture(
        (1, 12, 12),
        4,
        (conv(8, 3), relu(), conv(8, 3), add(2, 1), relu(), global_average_pool(), linear(4)),
    )
    found = plan(Request(residual, "tiny", Budget(max_params=500)), embedding, 2, settings=QUICK)
    assert found.candidates
    assert "not a chain" in found.warnings[0]


def test_without_a_budget_the_smallest_good_net_comes_first(embedding: Embedding) -> None:
    found = plan(Request(NET, "tiny"), embedding, 3, settings=QUICK)
    sizes = [candidate.costs.params for candidate in found.candidates]
    assert len(sizes) == 3
    assert sizes == sorted(sizes)
    assert sizes[0] < found.costs_before.params


def test_progress_is_told_by_phase(embedding: Embedding) -> None:
    seen: list[Progress] = []
    plan(
        Request(NET, "tiny", Budget(max_params=900)),
        embedding,
        1,
        settings=QUICK,
        on_progress=seen.append,
    )
    descents = [progress for progress in seen if progress.phase is Phase.DESCEND]
    assert [progress.step for progress in descents] == [1, 2, 3]
    assert seen[-1].phase is Phase.DECODE
    assert seen[-1].step == seen[-1].total_steps


class _Wrapped:
    """An embedding that differs from another one in what a test says."""

    def __init__(self, inner: Embedding) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


class _Nowhere(_Wrapped):
    """One whose predictions are not numbers anywhere."""

    def at(self, points: torch.Tensor) -> PointPrediction:
        found = self._inner.at(points)
        return replace(found, accuracy=found.accuracy * torch.nan)


def test_a_plan_survives_the_loss_of_all_starts(embedding: Embedding) -> None:
    nowhere = _Nowhere(embedding)
    request = Request(NET, "tiny", Budget(max_params=3_000))
    found = plan(request, nowhere, 2, settings=QUICK)  # type: ignore[arg-type]
    assert found.candidates
    assert any("descents were given up" in text for text in found.warnings)


class _Blinks(_Wrapped):
    """One that does not know the costs of the first point when it is asked for the first time."""

    asked = False

    def at(self, points: torch.Tensor) -> PointPrediction:
        found = self._inner.at(points)
        if self.asked:
            return found
        self.asked = True
        unknown = torch.zeros(len(points)).index_fill(0, torch.tensor([0]), torch.nan)
        return replace(found, log_params=found.log_params + unknown)


def test_a_descent_is_given_up_that_was_no_number_once(embedding: Embedding) -> None:
    request = Request(NET, "tiny", Budget(max_params=3_000))
    found = plan(request, _Blinks(embedding), 2, settings=QUICK)  # type: ignore[arg-type]
    assert "1 of 6 descents were given up (not a number)" in found.warnings


def test_a_lower_floor_gives_smaller_networks(embedding: Embedding) -> None:
    sizes = []
    for floor in (0.05, 0.5):
        request = Request(NET, "tiny", Budget(min_accuracy=floor))
        sizes.append(plan(request, embedding, 1, settings=QUICK).candidates[0].costs.params)
    assert sizes[0] < sizes[1]
    free = plan(Request(NET, "tiny", Budget()), embedding, 1, settings=QUICK).candidates[0]
    assert sizes[0] <= free.costs.params


class _ReadsNoHeir(_Wrapped):
    """One that cannot read the narrowed input network."""

    def predict(self, architectures: Sequence[Architecture]) -> list[Prediction]:
        if [[layer.kind for layer in net.layers] for net in architectures] == [_KINDS]:
            raise OutsideSpaceError("too long")
        return self._inner.predict(architectures)


_KINDS = [layer.kind for layer in NET.layers]
HOPELESS = Request(NET, "tiny", Budget(max_params=3_000, min_accuracy=1.0))


def test_a_hopeless_floor_is_refused_where_predictions_tell_all(embedding: Embedding) -> None:
    roomy = Request(NET, "tiny", Budget(max_params=count(NET).params, min_accuracy=1.0))
    for request, inheriting in ((HOPELESS, False), (roomy, True)):
        with pytest.raises(RequestError) as error:
            plan(request, embedding, 2, settings=QUICK, inheriting=inheriting)
        assert error.value.reason is Reason.BUDGET_INFEASIBLE
    found = plan(roomy, embedding, 2, settings=QUICK, given=True)
    assert found.heir is None
    assert any("probability of about 0%" in warning for warning in found.warnings)


def test_an_heir_may_do_better_than_is_predicted(embedding: Embedding) -> None:
    found = plan(HOPELESS, embedding, 2, settings=QUICK)
    assert found.heir is not None
    assert any("probability of about 0%" in warning for warning in found.warnings)
    reads_no_heir = _ReadsNoHeir(embedding)
    found = plan(HOPELESS, reads_no_heir, 2, settings=QUICK, inheriting=False)  # type: ignore[arg-type]
    assert found.heir is not None
    assert found.heir.prediction is None
    assert any("probability of about 0%" in warning for warning in found.warnings)


def test_a_plan_counts_the_images_that_there_are(embedding: Embedding) -> None:
    request = Request(NET, "tiny", Budget(max_params=3_000, min_accuracy=0.9999))
    many, few = (
        plan(request, embedding, 2, settings=QUICK, train_images=images).warnings
        for images in (10**9, 300)
    )
    assert many != few


class _MoreIsBetter(_Wrapped):
    """One that predicts the more the more parameters there are."""

    def predict(self, architectures: Sequence[Architecture]) -> list[Prediction]:
        found = [count(net).params / (1_000 + count(net).params) for net in architectures]
        return [Prediction(value, value - 0.01, value + 0.01) for value in found]


def test_a_larger_drop_gives_smaller_networks(embedding: Embedding) -> None:
    sized = _MoreIsBetter(embedding)
    sizes = []
    for drop in (0.0, 0.05, 0.5):
        request = Request(NET, "tiny", Budget(max_accuracy_drop=drop))
        found = plan(request, sized, 4, settings=QUICK)  # type: ignore[arg-type]
        first, *others = found.candidates
        least = sized.predict([NET])[0].accuracy - drop
        assert all(
            other.costs.params >= first.costs.params
            for other in others
            if predicted(other).accuracy >= least
        )
        sizes.append(first.costs.params)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[2] < sizes[0]


def test_without_a_size_the_search_goes_on_from_the_smallest_good(embedding: Embedding) -> None:
    sized = _MoreIsBetter(embedding)
    request = Request(NET, "tiny", Budget(max_accuracy_drop=0.3))
    sizes = []
    for rounds in (0, 4):
        search = SearchSettings(rounds=rounds, parents=1, children=12)
        settings = replace(QUICK, known=3, search=search)
        (found,) = plan(request, sized, 1, settings=settings).candidates  # type: ignore[arg-type]
        assert predicted(found).accuracy >= sized.predict([NET])[0].accuracy - 0.3
        sizes.append(found.costs.params)
    assert sizes[1] < sizes[0]


def test_candidates_stay_in_the_range_that_labels_back(embedding: Embedding) -> None:
    found = [count(exemplar.architecture) for exemplar in embedding.exemplars]
    labelled = LabelledRange.of(embedding)
    assert labelled is not None
    assert labelled.max_macs == max(costs.macs for costs in found)
    request = Request(NET, "tiny", Budget(max_params=900_000))
    for candidate in plan(request, embedding, 5, settings=QUICK).candidates:
        assert candidate.costs.macs <= labelled.max_macs
        assert candidate.costs.peak_activation_bytes <= labelled.max_activation_bytes


def test_where_the_range_binds_the_plan_says_so(embedding: Embedding) -> None:
    wide = Architecture(
        (1, 12, 12), 4, (conv(512, 3), conv(512, 3), global_average_pool(), linear(4))
    )
    found = plan(Request(wide, "tiny", Budget(max_params=50_000)), embedding, 1, settings=QUICK)
    assert any("no larger network was labelled" in warning for warning in found.warnings)


def test_without_a_budget_a_small_net_is_not_made_larger(embedding: Embedding) -> None:
    small = Architecture((1, 12, 12), 4, (conv(16, 3), relu(), global_average_pool(), linear(4)))
    found = plan(Request(small, "tiny"), embedding, 3, settings=QUICK)
    assert found.candidates
    assert all(c.costs.params <= count(small).params for c in found.candidates)
