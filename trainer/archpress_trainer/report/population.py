"""The population: accuracy against parameters, and the best net at every size."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from archpress_trainer.report.drawing import Panel, Section, draw
from archpress_trainer.report.facts import ReportFacts
from archpress_trainer.report.palette import BLUE, ORANGE, SURFACE
from archpress_trainer.report.scales import (
    AccuracyScale,
    Floats,
    label_counts,
    percent,
    plural,
    short_count,
)


def population_section(facts: ReportFacts) -> Section:
    """Return accuracy against parameters with the Pareto front."""
    title = "Accuracy and size"
    missing = facts.missing_population()
    if missing:
        return Section("population", title, missing=missing)
    front = pareto_front(facts.params, facts.accuracy)
    scale = AccuracyScale.around(facts.accuracy)
    best = int(front[-1])
    see = (
        f"The {plural(len(facts.records), 'labelled net')}, trained at the fidelity above, which "
        f"is less than a full training. No net is both smaller and better than one on the orange "
        f"front; the best has {percent(float(facts.accuracy[best]))} with "
        f"{short_count(float(facts.params[best]))} parameters."
        f"{scale.at_edge(facts.accuracy)}"
    )
    return Section(
        "population",
        title,
        see=see,
        distrust="Distrust the embedding for budgets where there are hardly any nets, and above "
        "the front: nothing that good has been measured.",
        panels=(_panel(facts, front, scale),),
    )


def pareto_front(params: Floats, accuracy: Floats) -> NDArray[np.int64]:
    """Return the nets that no other one beats in both, from small to large.

    Args:
        params: parameter counts `(nets,)`.
        accuracy: accuracies `(nets,)`.
    """
    front: list[int] = []
    for index in np.lexsort((-accuracy, params)).tolist():
        if not front or accuracy[index] > accuracy[front[-1]]:
            front.append(index)
    return np.array(front, dtype=np.int64)


def _panel(facts: ReportFacts, front: NDArray[np.int64], scale: AccuracyScale) -> Panel:
    def plot(axes: Axes) -> None:
        axes.set_xscale("log")
        axes.scatter(
            facts.params,
            scale.place(facts.accuracy),
            s=18,
            color=BLUE,
            alpha=0.6,
            edgecolor=SURFACE,
            linewidth=0.5,
        )
        sizes, heights = facts.params[front], scale.place(facts.accuracy[front])
        # What is best at one size stays best until a larger net beats it.
        ends = np.append(sizes, facts.params.max())
        axes.step(ends, np.append(heights, heights[-1]), where="post", color=ORANGE, linewidth=1.6)
        axes.scatter(sizes, heights, s=30, color=ORANGE, edgecolor=SURFACE, linewidth=0.8, zorder=3)
        label_counts(axes.xaxis)
        scale.label(axes.yaxis)
        axes.set_ylim(scale.limits)
        axes.set_xlabel("parameters, logarithmic")
        axes.set_ylabel("measured accuracy")

    label = "Measured accuracy against parameters with the Pareto front"
    return draw("population-front", label, plot, height=440)
