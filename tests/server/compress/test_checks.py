"""Requests that no search could serve are refused, with every violation and the way out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from archpress_proto.v1.info_service_pb2 import Limits
from archpress_server.compress.checks import budget_violations, check_request, size_budget
from archpress_server.compress.small_networks import smallest_networks
from archpress_server.compress.types import Budget, Reason, Request, RequestError
from archpress_trainer.embedding.manifest import Manifest, read_manifest
from archpress_trainer.space.costs import Costs, count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layers import conv, global_average_pool, linear
from archpress_trainer.space.widths import SizeBudget
from tests.trainer.nets import small_net

NET = Architecture((1, 12, 12), 4, (conv(64, 3), conv(64, 3), global_average_pool(), linear(4)))


@pytest.fixture(scope="module")
def manifest(tiny_embedding: Path) -> Manifest:
    return read_manifest(tiny_embedding)


def test_every_budget_field_out_of_range_is_named() -> None:
    budget = Budget(
        max_params=0,
        max_params_ratio=1.5,
        max_macs=-3,
        max_macs_ratio=0.0,
        max_latency_seconds=-1.0,
        min_accuracy=1.01,
        max_accuracy_drop=-0.1,
    )
    found = budget_violations(budget)
    assert [violation.path for violation in found] == [
        "budget.max_params",
        "budget.max_macs",
        "budget.max_params_ratio",
        "budget.max_macs_ratio",
        "budget.max_params_ratio",
        "budget.max_macs_ratio",
        "budget.min_accuracy",
        "budget.max_accuracy_drop",
        "budget.max_latency",
    ]
    assert {violation.reason for violation in found} == {Reason.INVALID_BUDGET}
    assert "is 0, must be at least 1" in found[0].description


def test_not_a_number_is_out_of_range() -> None:
    assert budget_violations(Budget(max_params_ratio=float("nan")))
    assert budget_violations(Budget(min_accuracy=float("nan")))


def test_counts_and_ratios_become_exact_limits() -> None:
    before = count(NET)
    budget = Budget(max_params=10_000, max_macs_ratio=0.25)
    assert size_budget(budget, before) == SizeBudget(10_000, before.macs // 4)
    assert size_budget(Budget(max_params_ratio=0.1), before).max_params == before.params // 10


@pytest.mark.parametrize("hundredths", range(1, 101))
def test_a_ratio_loses_nothing_to_rounding(hundredths: int) -> None:
    ratio = hundredths / 100
    found = size_budget(
        Budget(max_params_ratio=ratio, max_macs_ratio=ratio), Costs(100, 1000, 0, 0)
    )
    assert found == SizeBudget(hundredths, 10 * hundredths)


def test_a_count_and_a_ratio_of_one_cost_contradict_each_other() -> None:
    found = budget_violations(Budget(max_params=600_000, max_params_ratio=0.01))
    assert [violation.path for violation in found] == ["budget.max_params_ratio"]
    assert "contradicts max_params" in found[0].description
    assert not budget_violations(Budget(max_params=600_000, max_macs_ratio=0.5))


def test_the_smallest_networks_are_small(manifest: Manifest) -> None:
    fewest_params, fewest_macs = (count(n) for n in smallest_networks(manifest.space))
    assert fewest_params.params == 8 * 1 + 8 + 4 * 8 + 4
    # Two pools of 3x3 leave one pixel of the 12x12 image.
    assert fewest_macs.macs == 8 * 1 + 8 * 4


def test_a_budget_below_the_smallest_net_names_the_nearest(manifest: Manifest) -> None:
    least = min(count(network).params for network in smallest_networks(manifest.space))
    request = Request(NET, "tiny", Budget(max_params=least - 1))
    with pytest.raises(RequestError) as error:
        check_request(request, manifest)
    assert error.value.reason is Reason.BUDGET_INFEASIBLE
    assert error.value.metadata == {"max_params": str(least)}
    check_request(replace(request, budget=Budget(max_params=least)), manifest)


def test_an_infeasible_ratio_is_named_as_the_ratio(manifest: Manifest) -> None:
    with pytest.raises(RequestError) as error:
        check_request(Request(NET, "tiny", Budget(max_params_ratio=1e-4)), manifest)
    assert error.value.violations[0].path == "budget.max_params_ratio"
    assert "max_params_ratio" in error.value.metadata


@pytest.mark.parametrize("width", [9, 24, 32, 57, 128, 301])
def test_the_nearest_ratios_are_feasible(manifest: Manifest, width: int) -> None:
    network = small_net(width)
    budget = Budget(max_params_ratio=1e-9, max_macs_ratio=1e-9)
    with pytest.raises(RequestError) as error:
        check_request(Request(network, "tiny", budget), manifest)
    nearest = {name: float(text) for name, text in error.value.metadata.items()}
    for name, ratio in nearest.items():
        one = Budget(
            max_params_ratio=ratio if name == "max_params_ratio" else None,
            max_macs_ratio=ratio if name == "max_macs_ratio" else None,
        )
        check_request(Request(network, "tiny", one), manifest)
    assert set(nearest) == {"max_params_ratio", "max_macs_ratio"}


def test_a_network_below_the_space_has_no_feasible_ratio(manifest: Manifest) -> None:
    tiny = Architecture((1, 12, 12), 4, (conv(1, 1), global_average_pool(), linear(4)))
    with pytest.raises(RequestError) as error:
        check_request(Request(tiny, "tiny", Budget(max_params_ratio=1.0)), manifest)
    assert error.value.violations[0].path == "budget.max_params_ratio"
    least = int(error.value.metadata["max_params"])
    check_request(Request(tiny, "tiny", Budget(max_params=least)), manifest)


def test_shape_and_budget_violations_come_together(manifest: Manifest) -> None:
    other = Architecture((3, 12, 14), 7, (conv(8, 3), global_average_pool(), linear(7)))
    with pytest.raises(RequestError) as error:
        check_request(Request(other, "tiny", Budget(max_params=0)), manifest)
    assert [violation.path for violation in error.value.violations] == [
        "architecture.input_shape.channels",
        "architecture.input_shape.width",
        "architecture.classes",
        "budget.max_params",
    ]


def test_a_network_too_large_to_run_is_refused(manifest: Manifest) -> None:
    wide = Architecture((1, 12, 12), 4, (*[conv(16_384, 3)] * 2, global_average_pool(), linear(4)))
    with pytest.raises(RequestError, match="params are") as error:
        check_request(Request(wide, "tiny"), manifest)
    assert {violation.reason for violation in error.value.violations} == {Reason.LIMIT_EXCEEDED}
    # Named as in ServerInfo.limits.
    assert error.value.metadata["limit"] in [field.name for field in Limits.DESCRIPTOR.fields]
