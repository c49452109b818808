"""Predicted against measured accuracy, and whether the intervals hold what they promise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray
from scipy.stats import binom, norm

from archpress_trainer.embedding.figures import HeldOutNets
from archpress_trainer.report.drawing import Panel, Section, draw
from archpress_trainer.report.facts import ReportFacts
from archpress_trainer.report.palette import BLUE, FAINT, INK, MUTED, ORANGE, RULE, SURFACE
from archpress_trainer.report.scales import (
    AccuracyScale,
    Floats,
    logit,
    percent,
    plural,
    short_count,
    sigmoid,
)

_LEVEL = 0.9
_LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
_GROUPS = 5
_FEWEST_IN_GROUP = 8


@dataclass(frozen=True)
class _HeldOut:
    """Held-out nets as arrays `(nets,)`; `ratio` is the error in half-widths of the interval."""

    measured: Floats
    predicted: Floats
    half_width: Floats
    ratio: Floats

    @classmethod
    def of(cls, nets: HeldOutNets) -> _HeldOut:
        measured, predicted = np.array(nets.measured), np.array(nets.predicted)
        half_width = np.array(nets.half_width)
        error = np.abs(logit(measured) - logit(predicted))
        ratio = error / np.maximum(half_width, 1e-9)
        return cls(measured, predicted, half_width, ratio)


def predictions_section(facts: ReportFacts) -> Section:
    """Return predicted against measured accuracy with 90% intervals."""
    title = "Predicted and measured accuracy"
    if not facts.figures.held_out.index:
        return Section(
            "predictions", title, missing=facts.missing_part("predictions for held-out nets")
        )
    nets = _HeldOut.of(facts.figures.held_out)
    outside = int((nets.ratio > 1).sum())
    scale = AccuracyScale.around(nets.measured, nets.predicted)
    see = (
        f"Each of {plural(len(nets.measured), 'net')}, predicted by fits that had not seen it. "
        "On the diagonal prediction and measurement agree; the line through a net is its 90% "
        f"interval, and {percent(outside / len(nets.measured))} miss the diagonal (orange)."
        f"{scale.at_edge(np.minimum(nets.measured, nets.predicted))}"
    )
    return Section(
        "predictions",
        title,
        see=see,
        distrust="Distrust predictions where the cloud leaves the diagonal: one that bends flat "
        "at the top cannot rank the best nets, and those are the ones that compression returns.",
        panels=(_scatter(nets, scale),),
    )


def calibration_section(facts: ReportFacts) -> Section:
    """Return nominal against observed coverage, at all levels and by size."""
    title = "Calibration of the intervals"
    if not facts.figures.held_out.index:
        return Section("calibration", title, missing=facts.missing_part("intervals"))
    nets = _HeldOut.of(facts.figures.held_out)
    panels = [_levels(nets)]
    by_size = _size_groups(facts, nets)
    see = (
        "How many intervals hold the measured accuracy, against how many should. Levels "
        "other than 90% scale the interval as a normal error would. Inside the band the "
        "difference may be chance."
    )
    distrust = (
        "Distrust the intervals where the line runs below the band: they are too narrow. The "
        "90% point was set on these nets' errors, so look at the others."
    )
    if by_size:
        panels.append(_by_size(by_size))
        see += " The second figure: the 90% level by size, in groups of equally many nets."
        distrust += " A group far below 90% has intervals that promise too much."
    return Section("calibration", title, see=see, distrust=distrust, panels=tuple(panels))


def _scatter(nets: _HeldOut, scale: AccuracyScale) -> Panel:
    def plot(axes: Axes) -> None:
        middle = logit(nets.predicted)
        low, high = sigmoid(middle - nets.half_width), sigmoid(middle + nets.half_width)
        covered = nets.ratio <= 1
        ends = [scale.low, scale.high]
        axes.plot(ends, ends, color=MUTED, linewidth=1, dashes=(4, 3), zorder=1)
        for chosen, color, opacity in ((covered, BLUE, 0.18), (~covered, ORANGE, 0.55)):
            x = scale.place(nets.measured[chosen])
            axes.vlines(
                x,
                scale.place(low[chosen]),
                scale.place(high[chosen]),
                color=color,
                alpha=opacity,
                linewidth=1,
            )
            axes.scatter(
                x,
                scale.place(nets.predicted[chosen]),
                s=16,
                color=color,
                alpha=0.9,
                edgecolor=SURFACE,
                linewidth=0.5,
                zorder=3,
            )
        for axis in (axes.xaxis, axes.yaxis):
            scale.label(axis)
        axes.set_xlim(scale.limits)
        axes.set_ylim(scale.limits)
        axes.set_xlabel("measured accuracy")
        axes.set_ylabel("predicted accuracy")
        axes.set_box_aspect(1)

    label = "Predicted against measured accuracy of held-out nets with 90% intervals"
    return draw("predictions-scatter", label, plot, height=440)


def _levels(nets: _HeldOut) -> Panel:
    levels = np.array(_LEVELS)
    widths = norm.ppf((1 + levels) / 2) / norm.ppf((1 + _LEVEL) / 2)
    observed = np.array([(nets.ratio <= width).mean() for width in widths])

    def plot(axes: Axes) -> None:
        grid = np.linspace(0, 1, 101)
        band = _chance(grid, len(nets.ratio))
        axes.fill_between(grid, *band, color=FAINT, alpha=0.35, linewidth=0)
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, dashes=(4, 3))
        axes.plot(levels, observed, color=BLUE, marker="o", markersize=5)
        at = _LEVELS.index(_LEVEL)
        axes.plot(levels[at], observed[at], "o", color=ORANGE, markersize=8)
        axes.annotate(
            f"90%: {percent(float(observed[at]))}",
            (levels[at], observed[at]),
            xytext=(-10, 6),
            textcoords="offset points",
            ha="right",
            color=ORANGE,
        )
        _share_axes(axes)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))
        axes.set_xlabel("nominal coverage")
        axes.set_ylabel("observed coverage")

    label = "Observed against nominal coverage of the intervals"
    return draw("calibration-levels", label, plot, height=340)


@dataclass(frozen=True)
class _Group:
    """Nets of about one size: the middle parameter count, how many, the share covered."""

    params: float
    count: int
    observed: float


def _size_groups(facts: ReportFacts, nets: _HeldOut) -> list[_Group]:
    size = {record.index: record.params for record in facts.records}
    known = [place for place, i in enumerate(facts.figures.held_out.index) if i in size]
    count = min(_GROUPS, len(known) // _FEWEST_IN_GROUP)
    if count < 2:
        return []
    params = np.array([size[facts.figures.held_out.index[place]] for place in known])
    covered = nets.ratio[known] <= 1
    parts: list[NDArray[np.int64]] = np.array_split(np.argsort(params, kind="stable"), count)
    return [
        _Group(float(np.median(params[part])), len(part), float(covered[part].mean()))
        for part in parts
    ]


def _by_size(groups: list[_Group]) -> Panel:
    def plot(axes: Axes) -> None:
        places = np.arange(len(groups))
        for place, group in zip(places.tolist(), groups, strict=True):
            low, high = _chance(np.array([_LEVEL]), group.count)
            axes.bar(
                place, high - low, bottom=low, width=0.62, color=FAINT, alpha=0.35, linewidth=0
            )
        observed = np.array([group.observed for group in groups])
        axes.axhline(_LEVEL, color=MUTED, linewidth=1, dashes=(4, 3))
        axes.plot(places, observed, "o", color=BLUE, markersize=8)
        for place, value in zip(places.tolist(), observed.tolist(), strict=True):
            axes.text(
                place,
                0.03,
                percent(value, 0),
                transform=axes.get_xaxis_transform(),
                ha="center",
                color=INK,
            )
        axes.set_xticks(places, [short_count(group.params, 2) for group in groups])
        axes.set_xlim(-0.6, len(groups) - 0.4)
        _share_axes(axes)
        floor = min(0.7, float(observed.min()) - 0.12)
        axes.set_ylim(max(0.0, floor), 1.02)
        axes.grid(visible=False, axis="x")
        axes.set_xlabel("parameters, middle of each group")
        axes.set_ylabel("inside the 90% interval")

    label = "Observed coverage of the 90% interval by size of the net"
    return draw("calibration-by-size", label, plot, height=340)


def _share_axes(axes: Axes) -> None:
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))
    axes.spines["left"].set_color(RULE)


def _chance(level: Floats, count: int) -> tuple[Floats, Floats]:
    """Return between which shares 95% of perfectly calibrated samples of `count` nets lie."""
    low, high = (binom.ppf(end, count, level) / count for end in (0.025, 0.975))
    # At a level of 0 nothing lies below: the distribution's own answer there is -1.
    return np.clip(low, 0, 1), np.clip(high, 0, 1)
