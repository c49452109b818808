"""What the figures draw: fronts, planes, coverage, filters, the plain path."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from archpress_trainer.embedding.figures import HeldOutNets
from archpress_trainer.embedding.metrics import METRIC_MEANINGS
from archpress_trainer.report.facts import ReportFacts, read_facts
from archpress_trainer.report.filters import filter_banks, filter_image
from archpress_trainer.report.gradient_path import PathSettings, plain_gradient_paths
from archpress_trainer.report.plane import Plane
from archpress_trainer.report.population import pareto_front
from archpress_trainer.report.predictions import calibration_section, predictions_section
from archpress_trainer.report.quality import quality_of
from archpress_trainer.report.scales import logit, sigmoid
from archpress_trainer.report.shares import rejections_section

RIDGE = dict(METRIC_MEANINGS)["ridge_kendall_tau"].removeprefix("tau of ")


@pytest.fixture(scope="module")
def facts(paper_artifact: Path) -> ReportFacts:
    return read_facts(paper_artifact)


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(0, 20)), min_size=1, max_size=40),
)
def test_nothing_beats_the_front(nets: list[tuple[int, int]]) -> None:
    params, accuracy = (np.array(values, dtype=np.float64) for values in zip(*nets, strict=True))
    front = pareto_front(params, accuracy)
    for index in range(len(nets)):
        beaten = (
            (params <= params[index])
            & (accuracy >= accuracy[index])
            & ((params < params[index]) | (accuracy > accuracy[index]))
        ).any()
        if index in front:
            assert not beaten
        else:
            same = (params[front] == params[index]) & (accuracy[front] == accuracy[index])
            assert beaten or same.any()
    assert (np.diff(params[front]) > 0).all()
    assert (np.diff(accuracy[front]) > 0).all()


def test_the_plane_finds_the_widest_directions() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(400, 5)) * [0.1, 9.0, 0.1, 3.0, 0.1] + 7
    plane = Plane.of(points)
    assert np.abs(plane.axes[0]).argmax() == 1
    assert np.abs(plane.axes[1]).argmax() == 3
    assert plane.shares.sum() == pytest.approx(1, abs=0.01)
    assert plane.project(points).shape == (400, 2)
    # The picture must not depend on the sign that the decomposition happens to give.
    assert plane.axes[0, 1] > 0
    assert plane.axes[1, 3] > 0


def test_the_plane_of_equal_points() -> None:
    plane = Plane.of(np.ones((5, 4)))
    assert np.isfinite(plane.project(np.ones((5, 4)))).all()


def test_the_path_goes_down_the_objective(facts: ReportFacts) -> None:
    settings = PathSettings(steps=10, stride=0.02)
    starts = facts.points[:2]
    first, second = plain_gradient_paths(facts.embedding, starts, facts.plane.spread, settings)
    for path, start in ((first, starts[0]), (second, starts[1])):
        assert path.points.shape == (11, facts.embedding.dimensions)
        np.testing.assert_allclose(path.points[0], start, rtol=1e-5)
        objective = -np.log(path.accuracy) + settings.size_weight * np.log(path.params)
        assert objective[-1] < objective[0]
        lengths = np.linalg.norm(np.diff(path.points, axis=0), axis=1)
        assert lengths[0] == pytest.approx(0.02 * facts.plane.spread, rel=1e-3)
        assert (np.diff(lengths) <= 1e-6).all()


def test_the_path_leaves_the_number_of_threads(facts: ReportFacts) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        plain_gradient_paths(facts.embedding, facts.points[:1], 1.0, PathSettings(steps=1))
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_filter_banks_of_the_paper(facts: ReportFacts) -> None:
    shapes = {bank.name: bank.weights.shape for bank in filter_banks(facts.embedding)}
    assert shapes == {
        "filters-encoder": (64, 5, 3),
        "filters-decoder": (64, 16, 4),
        "filters-decoder-last": (64, 5, 3),
    }


def test_filter_banks_name_every_channel(default_artifact: Path) -> None:
    first, inner, last = filter_banks(read_facts(default_artifact).embedding)
    for bank in (first, last):
        assert sum(size for _, size in bank.groups) == bank.weights.shape[1]
    assert [name for name, _ in first.groups][-1] == "costs"
    assert inner.groups == ()


def test_a_filter_image_shows_sign_and_size() -> None:
    weights = np.zeros((100, 64, 3))
    weights[0, 0, 0], weights[1, 1, 2], weights[2:, 2:] = 1.0, -0.5, 1.0
    image = filter_image(weights)
    # A weight has 5 x 3 pixels here; gaps of one follow each filter and each channel.
    assert image.shape == (100 * 6, 64 * 10, 4)
    assert image[0, 0].tolist() == [224, 112, 16, 255]
    assert image[6, 10 + 8].tolist() == [31, 119, 190, 127]
    assert image[5].max() == 0
    assert image[:, 9].max() == 0
    assert filter_image(np.zeros((1, 1, 3))).max() == 0


def with_ratios(facts: ReportFacts, ratios: list[float]) -> ReportFacts:
    """Return facts whose held-out nets err by these multiples of their half-widths."""
    predicted = np.full(len(ratios), 0.8)
    measured = sigmoid(logit(predicted) + 0.4 * np.array(ratios))
    nets = HeldOutNets(
        tuple(range(len(ratios))),
        tuple(measured.tolist()),
        tuple(predicted.tolist()),
        (0.4,) * len(ratios),
    )
    return replace(facts, figures=replace(facts.figures, held_out=nets))


def test_the_share_outside_is_told(facts: ReportFacts) -> None:
    section = predictions_section(with_ratios(facts, [0.5] * 3 + [-1.2]))
    assert "Each of 4 nets" in section.see
    assert "25% miss the diagonal" in section.see


def test_coverage_is_counted(facts: ReportFacts) -> None:
    section = calibration_section(with_ratios(facts, [0.99] * 19 + [1.01]))
    assert "90%: 95%" in section.panels[0].svg
    assert [panel.name for panel in section.panels] == ["calibration-levels", "calibration-by-size"]


def test_few_nets_are_not_grouped_by_size(facts: ReportFacts) -> None:
    section = calibration_section(with_ratios(facts, [0.5] * 6))
    assert [panel.name for panel in section.panels] == ["calibration-levels"]


def test_many_reasons_are_summed(facts: ReportFacts) -> None:
    reasons = {f"reason {number}": 100 - number for number in range(14)}
    section = rejections_section(replace(facts, figures=replace(facts.figures, rejections=reasons)))
    (panel,) = section.panels
    assert "reason 9" in panel.svg
    assert "reason 10" not in panel.svg
    assert "4 more reasons" in panel.svg


def test_the_verdict_names_the_best_rival() -> None:
    metrics = {"accuracy_kendall_tau": 0.7, "ridge_kendall_tau": 0.6, "baseline_kendall_tau": 0.4}
    assert quality_of(metrics).verdict == (
        f"It ranks unseen nets better than {RIDGE}: tau 0.700 against 0.600."
    )
    worse = quality_of({**metrics, "accuracy_kendall_tau": 0.5})
    assert worse.verdict.startswith(f"Distrust it: it ranks unseen nets no better than {RIDGE}")
    assert quality_of({}).verdict == ""
    everything = dict.fromkeys((name for name, _ in METRIC_MEANINGS), 0.5)
    quality = quality_of(everything)
    in_band = sum(tau.in_band is not None for tau in quality.taus)
    assert len(quality.taus) + in_band + len(quality.others) == len(METRIC_MEANINGS)
    assert quality_of({"interval_coverage": 0.9}).others == (
        ("share of accuracies inside the 90% interval", "90%"),
    )
