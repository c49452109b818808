"""The loss curves of the fit, the paper's Figure 3."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from archpress_trainer.embedding.figures import FitCurves
from archpress_trainer.report.drawing import Panel, Section, draw
from archpress_trainer.report.facts import ReportFacts
from archpress_trainer.report.palette import MUTED, SERIES
from archpress_trainer.report.scales import short_count

_TOTAL = "total"
_LABEL_GAP = 0.075


def fit_section(facts: ReportFacts) -> Section:
    """Return the loss curves of the fit."""
    fit = facts.figures.fit
    title = "Loss of the fit"
    if not fit.losses or not fit.iterations:
        return Section("fit", title, missing=facts.missing_part("loss curves"))
    return Section(
        "fit",
        title,
        see="Each part of the joint loss while the embedding was fitted, as in the paper's "
        "Figure 3. All parts fall together and flatten towards the end.",
        distrust="Distrust a fit whose curves still fall steeply at the right edge (it was "
        "stopped early), or one part that rises while the others fall.",
        panels=(_panel(fit),),
    )


def _panel(fit: FitCurves) -> Panel:
    def plot(axes: Axes) -> None:
        positive = all(value > 0 for values in fit.losses.values() for value in values)
        if positive:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.minorticks_off()
        colors = iter(SERIES * (1 + len(fit.losses) // len(SERIES)))
        ends: list[tuple[float, str, str]] = []
        # The total lies close to its largest part: wide and below, so that both can be seen.
        for name, values in sorted(fit.losses.items(), key=lambda item: item[0] != _TOTAL):
            color = MUTED if name == _TOTAL else next(colors)
            # A single value is a point, not a line.
            marker = "o" if len(values) == 1 else None
            width, opacity = (5.0, 0.35) if name == _TOTAL else (1.8, 1.0)
            axes.plot(
                fit.iterations,
                values,
                color=color,
                marker=marker,
                linewidth=width,
                alpha=opacity,
            )
            ends.append((values[-1], name, color))
        axes.set_xlim(0, max(fit.iterations))
        axes.set_xlabel("iteration")
        axes.set_ylabel("loss, logarithmic" if positive else "loss")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_count(value)))
        axes.grid(visible=False, axis="x")
        _name_ends(axes, ends)

    names = ", ".join(fit.losses)
    return draw("fit-losses", f"Loss against iteration: {names}", plot, height=340)


def _name_ends(axes: Axes, ends: list[tuple[float, str, str]]) -> None:
    """Write each curve's name and last value beside its end, moved apart where they would touch."""
    axes.figure.canvas.draw()
    transform = axes.transData + axes.transAxes.inverted()
    places = [float(transform.transform((0, value))[1]) for value, _, _ in ends]
    order = np.argsort(places)
    height = -np.inf
    for index in order.tolist():
        height = max(places[index], height + _LABEL_GAP)
        value, name, color = ends[index]
        axes.text(
            1.015,
            height,
            f"{name} {value:.3g}",
            transform=axes.transAxes,
            color=color,
            va="center",
        )
