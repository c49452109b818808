"""The latent space in its two widest directions."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LogNorm, Normalize
from matplotlib.ticker import FixedLocator, NullLocator

from archpress_trainer.report.drawing import Panel, Section, draw
from archpress_trainer.report.facts import ReportFacts
from archpress_trainer.report.palette import (
    ACCURACY_RAMP,
    INK,
    SIZE_RAMP,
    SURFACE,
)
from archpress_trainer.report.plane import Plane
from archpress_trainer.report.scales import (
    AccuracyScale,
    Floats,
    label_counts,
    percent,
)


def latent_section(facts: ReportFacts) -> Section:
    """Return the population in the plane, coloured by accuracy and by size."""
    title = "The latent space"
    missing = facts.missing_population()
    if missing:
        return Section("latent", title, missing=missing)
    plane = facts.plane
    places = plane.project(facts.points)
    scale = AccuracyScale.around(facts.accuracy, tail=0.05, room=0.0)
    low, high = facts.params.min(), facts.params.max()
    panels = (
        _coloured(
            "latent-accuracy",
            "measured accuracy",
            places,
            scale.place(facts.accuracy),
            ACCURACY_RAMP,
            Normalize(scale.low, scale.high),
            plane,
            scale,
        ),
        _coloured(
            "latent-size",
            "parameters",
            places,
            facts.params,
            SIZE_RAMP,
            LogNorm(low, max(high, low * 1.01)),
            plane,
            None,
        ),
    )
    return Section(
        "latent",
        title,
        see=f"The labelled nets in the two widest of {facts.embedding.dimensions} dimensions "
        "(principal components). Neighbours should look alike: colours change gradually, in "
        "accuracy and in size, and not in the same direction.",
        distrust=f"Distrust distances in this picture: it shows "
        f"{percent(float(plane.shares.sum()), 0)} of the variance. Distrust the embedding where "
        "colours are mixed like confetti in both panels.",
        panels=panels,
    )


def _coloured(
    name: str,
    what: str,
    places: Floats,
    values: Floats,
    ramp: Colormap,
    norm: Normalize,
    plane: Plane,
    scale: AccuracyScale | None,
) -> Panel:
    def plot(axes: Axes) -> None:
        # The most striking last, so that they are not covered.
        order = np.argsort(values, kind="stable")
        dots = axes.scatter(
            places[order, 0],
            places[order, 1],
            c=values[order],
            s=34,
            cmap=ramp,
            norm=norm,
            edgecolor=SURFACE,
            linewidth=0.5,
        )
        plane_axes(axes, plane)
        bar = axes.figure.colorbar(dots, ax=axes, location="top", aspect=34, pad=0.03, shrink=1.0)
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0)
        bar.set_label(what)
        if scale is None:
            label_counts(bar.ax.xaxis)
        else:
            scale.label(bar.ax.xaxis)
        bar.ax.xaxis.set_minor_locator(NullLocator())

    return draw(name, f"The latent space coloured by {what}", plot, height=440)


def plane_axes(axes: Axes, plane: Plane) -> None:
    """Draw the frame of a plane, whose axes have no units worth a tick."""
    shares = [percent(float(share), 0) for share in plane.shares]
    axes.set_xlabel(f"first principal axis, {shares[0]} of the variance")
    axes.set_ylabel(f"second, {shares[1]}")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator([]))
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(INK)
        spine.set_alpha(0.15)
