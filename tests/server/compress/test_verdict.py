"""What a certified result misses, and the nearest budget that it meets."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from archpress_server.compress.latency_table import LatencyTable, LayerLatency
from archpress_server.compress.types import Budget, Compression, CompressionError, Reason, Request
from archpress_server.compress.verdict import judge, slower_warning
from archpress_trainer.space.vocab import LayerKind


def asking(result: Compression, budget: Budget, table: LatencyTable | None = None) -> Request:
    return Request(result.architecture, "fashion-mnist", budget, latency_table=table)


def scored(result: Compression, before: int, reached: int, images: int) -> Compression:
    """Return a result by how many of the test images its input and it classify rightly."""
    certificate = replace(result.certificate, accuracy=reached / images, test_images=images)
    return replace(result, accuracy_before=before / images, certificate=certificate)


def test_limits_that_are_just_kept_are_met(compression: Compression) -> None:
    measured = replace(compression, accuracy_before=0.92)
    budget = Budget(max_latency_seconds=0.001, min_accuracy=0.91, max_accuracy_drop=0.02)
    assert judge(measured, asking(measured, budget)) is measured
    assert judge(measured, asking(measured, Budget())) is measured


def test_every_miss_is_named_and_loosened(compression: Compression) -> None:
    measured = replace(compression, accuracy_before=0.95)
    budget = Budget(10**9, max_latency_seconds=5e-4, min_accuracy=0.99, max_accuracy_drop=0.0)
    with pytest.raises(CompressionError) as error:
        judge(measured, asking(measured, budget))
    assert error.value.reason is Reason.BUDGET_UNREACHABLE
    assert set(error.value.metadata) == {"max_latency", "min_accuracy", "max_accuracy_drop"}
    assert error.value.metadata["max_latency"] == "0.001000000s"
    nearest, best = error.value.nearest_budget, error.value.best
    assert nearest == Budget(
        10**9,
        max_latency_seconds=0.001,
        min_accuracy=0.91,
        max_accuracy_drop=measured.accuracy_before - 0.91 if measured.accuracy_before else None,
    )
    assert nearest is not None
    assert best is not None
    assert not best.budget_met
    assert judge(measured, asking(measured, nearest)) is measured


@pytest.mark.parametrize("images", [200, 9_999, 10_000])
def test_a_limit_is_met_to_the_image(compression: Compression, images: int) -> None:
    for before, lost in product(range(images // 2, images + 1, images // 50), range(40)):
        measured = scored(compression, before, before - lost, images)
        exact = [
            Budget(max_accuracy_drop=lost / images),
            Budget(min_accuracy=(before - lost) / images),
        ]
        for budget in exact:
            assert judge(measured, asking(measured, budget)) is measured
        worse = scored(compression, before, before - lost - 1, images)
        for budget in exact:
            with pytest.raises(CompressionError):
                judge(worse, asking(worse, budget))


def test_what_is_named_as_reached_is_met(compression: Compression) -> None:
    images = 2_999
    beyond = Budget(max_latency_seconds=1e-12, min_accuracy=1.0, max_accuracy_drop=0.0)
    for reached in range(1, images, 13):
        measured = scored(compression, images, reached, images)
        latency = replace(measured.certificate.latency, median_seconds=reached / 7e8)
        certificate = replace(measured.certificate, latency=latency)
        measured = replace(measured, certificate=certificate)
        with pytest.raises(CompressionError) as error:
            judge(measured, asking(measured, beyond))
        told = error.value.metadata
        named = Budget(
            max_latency_seconds=float(told["max_latency"].removesuffix("s")),
            min_accuracy=float(told["min_accuracy"]),
            max_accuracy_drop=float(told["max_accuracy_drop"]),
        )
        assert judge(measured, asking(measured, named)) is measured
        assert named.min_accuracy == pytest.approx(reached / images, abs=1e-6)
        assert told["max_accuracy_drop"] in str(error.value)


def test_with_a_table_the_measured_latency_is_information(compression: Compression) -> None:
    latency = replace(compression.certificate.latency, median_seconds=9.0)
    slow = replace(compression, certificate=replace(compression.certificate, latency=latency))
    budget = Budget(max_latency_seconds=2e-6)
    assert judge(slow, asking(slow, budget, LatencyTable(_rows(0.0), 1e-6))) is slow
    dear = asking(slow, budget, LatencyTable(_rows(1.0)))
    with pytest.raises(CompressionError, match="max_latency is 2e-06"):
        judge(slow, dear)


def test_a_limit_that_is_missed_by_little_is_told_in_full(compression: Compression) -> None:
    latency = replace(compression.certificate.latency, median_seconds=0.0012345678)
    slow = replace(compression, certificate=replace(compression.certificate, latency=latency))
    said = "takes 0.001234568 s, max_latency is 0.001234567 s"
    with pytest.raises(CompressionError, match=said):
        judge(slow, asking(slow, Budget(max_latency_seconds=0.001234567)))


def test_fewer_macs_that_take_as_long_are_told(compression: Compression) -> None:
    assert slower_warning(compression) is None
    fewer = replace(compression.costs_after, macs=compression.costs_before.macs - 1)
    smaller = replace(compression, costs_after=fewer)
    assert "did not" in (slower_warning(smaller) or "")
    latency = replace(smaller.certificate.latency, median_seconds=9e-4)
    faster = replace(smaller, certificate=replace(smaller.certificate, latency=latency))
    assert slower_warning(faster) is None


def _rows(fixed_seconds: float) -> tuple[LayerLatency, ...]:
    return tuple(LayerLatency(kind, None, fixed_seconds) for kind in LayerKind)
