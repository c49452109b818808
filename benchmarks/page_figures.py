"""Figures of the results page: SVG files that stand alone and follow the reader's colour scheme."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from archpress_trainer.report.drawing import Panel, draw
from archpress_trainer.report.palette import BLUE, FAINT, GREEN, INK, MUTED, ORANGE, PINK
from archpress_trainer.report.palette import variables as variables_of
from archpress_trainer.report.scales import label_counts

_OTHERS = (ORANGE, GREEN, PINK, INK, MUTED, FAINT)
_MARKS = ("s", "^", "D", "v", "P", "X", "<", ">")
_FONTS = "system-ui, sans-serif"

Series = Mapping[str, Sequence[tuple[float, float]]]
"""Points by name; the first name is the one to look at."""


def sizes_figure(name: str, label: str, series: Series) -> str:
    """Return accuracy in percent against parameters, a mark for each network and a line of means.

    Args:
        name: of the file, which is the drawing's id too.
        label: what it shows, for those who hear the page read.
        series: parameters and accuracies in percent.
    """

    def plot(axes: Axes) -> None:
        axes.set_xscale("log")
        for place, (method, points) in enumerate(series.items()):
            color, mark = _look(place)
            params, accuracy = (np.array(values) for values in zip(*points, strict=True))
            axes.scatter(params, accuracy, s=26, color=color, marker=mark, label=method, zorder=3)
            targets = np.unique(params)
            means = [accuracy[params == target].mean() for target in targets]
            axes.plot(targets, means, color=color, linewidth=1.2)
        label_counts(axes.xaxis)
        axes.set_xlabel("parameters allowed, logarithmic")
        axes.set_ylabel("test accuracy, %")
        axes.legend(loc="lower right")

    return standalone(draw(name, label, plot, width=620, height=420))


def differences_figure(name: str, label: str, differences: Mapping[str, Sequence[float]]) -> str:
    """Return differences in points, a dot for each target and a bar for the mean of each name."""
    names = list(differences)

    def plot(axes: Axes) -> None:
        axes.axvline(0, color=MUTED, linewidth=1)
        for place, other in enumerate(names):
            values = np.array(differences[other])
            axes.scatter(values, np.full(len(values), place), s=22, color=BLUE, alpha=0.6, zorder=3)
            axes.plot([values.mean()] * 2, [place - 0.3, place + 0.3], color=ORANGE, linewidth=2.4)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("points of test accuracy that ours is ahead")

    return standalone(draw(name, label, plot, width=620, height=90 + 34 * len(names)))


def standalone(panel: Panel) -> str:
    """Return a panel as a file of its own, with the colours of both schemes."""
    svg = str(panel.svg)
    used = set(re.findall(r"var\((--[\w-]+)\)", svg))

    def declared(*, dark: bool) -> str:
        values = dict(
            part.strip().split(": ") for part in variables_of(dark=dark).split(";") if part.strip()
        )
        return " ".join(f"{name}: {values[name]};" for name in sorted(used))

    style = (
        f"<style>svg {{ font-family: {_FONTS}; {declared(dark=False)} }}\n"
        f"@media (prefers-color-scheme: dark) {{ svg {{ {declared(dark=True)} }} }}</style>"
    )
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    opening, body = svg.split(">", 1)
    head = opening.replace("<svg ", f'<svg {spaces} width="{panel.width}" ', 1)
    return f"{head}>{style}{body.rstrip()}\n"


def _look(place: int) -> tuple[str, str]:
    if place == 0:
        return BLUE, "o"
    return _OTHERS[(place - 1) % len(_OTHERS)], _MARKS[(place - 1) % len(_MARKS)]
