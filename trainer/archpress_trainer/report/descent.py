"""A descent path: in the plane of the latent space, and in accuracy and size."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes

from archpress_trainer.report.drawing import Panel, Section, draw
from archpress_trainer.report.facts import ReportFacts
from archpress_trainer.report.gradient_path import (
    GradientPath,
    PathSettings,
    plain_gradient_paths,
)
from archpress_trainer.report.latent import plane_axes
from archpress_trainer.report.palette import BLUE, FAINT, ORANGE, SURFACE
from archpress_trainer.report.plane import Plane
from archpress_trainer.report.scales import (
    AccuracyScale,
    Floats,
    label_counts,
    percent,
    short_count,
)
from archpress_trainer.space.costs import count

_PATH_COLORS = (BLUE, ORANGE)


def descent_section(facts: ReportFacts) -> Section:
    """Return two plain gradient paths, in the plane and in accuracy and size."""
    title = "A descent path"
    missing = facts.missing_population()
    if missing:
        return Section("descent", title, missing=missing)
    plane = facts.plane
    middle = int(np.argsort(facts.accuracy, kind="stable")[len(facts.accuracy) // 2])
    starts = {"largest net": int(facts.params.argmax()), "middling net": middle}
    walked = plain_gradient_paths(
        facts.embedding, facts.points[list(starts.values())], plane.spread, PathSettings()
    )
    paths = dict(zip(starts, walked, strict=True))
    return Section(
        "descent",
        title,
        see="The plain path against the gradient of predicted accuracy and size (the paper's "
        "eq. 16), without a budget, which compression itself has. Circle: start, "
        "square: end.",
        distrust="Distrust the gradient where a path runs far out of the cloud while its "
        "predicted accuracy keeps rising, or where the net that its end decodes to is predicted "
        "much lower than the end itself.",
        notes=tuple(_told(facts, name, path) for name, path in paths.items()),
        panels=(_paths_in_plane(facts, plane, paths), _paths_in_costs(facts, paths)),
    )


def _told(facts: ReportFacts, name: str, path: GradientPath) -> str:
    begin, end = (
        f"{percent(float(path.accuracy[at]))} at {short_count(float(path.params[at]))} parameters"
        for at in (0, -1)
    )
    (decoded,) = facts.embedding.decode(torch.from_numpy(path.points[-1:]).float())
    if decoded is None:
        return f"From the {name}: {begin} to {end}; the end decodes to no valid net."
    (own,) = facts.embedding.predict([decoded])
    return (
        f"From the {name}: {begin} to {end}; the net that the end decodes to has "
        f"{short_count(count(decoded).params)} and is itself predicted {percent(own.accuracy)}."
    )


def _paths_in_plane(facts: ReportFacts, plane: Plane, paths: dict[str, GradientPath]) -> Panel:
    def plot(axes: Axes) -> None:
        places = plane.project(facts.points)
        axes.scatter(
            places[:, 0],
            places[:, 1],
            s=14,
            color=FAINT,
            alpha=0.7,
            linewidth=0,
        )
        for color, (name, path) in zip(_PATH_COLORS, paths.items(), strict=True):
            _path(axes, plane.project(path.points), color, name)
        plane_axes(axes, plane)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)

    return draw("descent-plane", "Descent paths in the latent space", plot, height=400)


def _paths_in_costs(facts: ReportFacts, paths: dict[str, GradientPath]) -> Panel:
    def plot(axes: Axes) -> None:
        scale = AccuracyScale.around(facts.accuracy, *(path.accuracy for path in paths.values()))
        axes.set_xscale("log")
        axes.scatter(
            facts.params,
            scale.place(facts.accuracy),
            s=14,
            color=FAINT,
            alpha=0.7,
            linewidth=0,
        )
        for color, (name, path) in zip(_PATH_COLORS, paths.items(), strict=True):
            _path(axes, np.stack([path.params, scale.place(path.accuracy)], axis=1), color, name)
        label_counts(axes.xaxis)
        scale.label(axes.yaxis)
        axes.set_ylim(scale.limits)
        axes.set_xlabel("predicted parameters (grey: counted), logarithmic")
        axes.set_ylabel("predicted accuracy (grey: measured)")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)

    label = "Predicted accuracy and parameters along the descent paths"
    return draw("descent-costs", label, plot, height=400)


def _path(axes: Axes, places: Floats, color: str, name: str) -> None:
    axes.plot(*places.T, color=SURFACE, linewidth=4.5, alpha=0.9, zorder=3)
    axes.plot(*places.T, color=color, linewidth=2, zorder=4, label=f"from the {name}")
    for place, marker in ((places[0], "o"), (places[-1], "s")):
        axes.plot(
            *place,
            marker,
            color=color,
            markersize=9,
            markeredgecolor=SURFACE,
            markeredgewidth=1.4,
            zorder=5,
        )
