"""The figures of a report: candidates on the accuracy-size plane, the descent, the trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from archpress_server.compress.types import Candidate
from archpress_server.report.facts import JobFacts
from archpress_trainer.report.drawing import Panel, Section, draw
from archpress_trainer.report.palette import BLUE, FAINT, GREEN, INK, ORANGE, SERIES, SURFACE
from archpress_trainer.report.scales import AccuracyScale, Floats, label_counts, percent, plural

_MOST_TRAININGS = 12
_WIDE = 560
_PREDICTED: Mapping[str, Any] = {
    "marker": "o",
    "color": BLUE,
    "markerfacecolor": SURFACE,
    "label": "predicted",
}
_MEASURED: Mapping[str, Any] = {"marker": "o", "color": ORANGE, "label": "measured (validation)"}
_DELIVERED: Mapping[str, Any] = {
    "marker": "*",
    "color": GREEN,
    "markersize": 15,
    "markeredgecolor": SURFACE,
    "label": "delivered (test)",
}


def sections(facts: JobFacts) -> list[Section]:
    """Return the figures in the order of the page."""
    return [candidates_section(facts), descent_section(facts), training_section(facts)]


def candidates_section(facts: JobFacts) -> Section:
    """Return the candidates by size: what was predicted, and what was measured then."""
    title = "The candidates"
    if not any(c.prediction or _trained(c) for c in facts.candidates):
        missing = "No candidate has been predicted or measured yet."
        return Section("candidates", title, missing=missing)
    trained = sum(map(_trained, facts.candidates))
    return Section(
        "candidates",
        title,
        see="Each candidate by its parameters. Ring: the accuracy that the embedding predicts "
        "after a short training, with its 90% interval; dot: what its last training measured on "
        "validation images. Star: the delivered file on the test images. Grey: the better half "
        "of the networks of such sizes that the embedding learnt from.",
        distrust="A dot far below its ring was predicted too high. Dots of short trainings and the "
        "star, which is a full training, are of two kinds.",
        notes=(
            f"{plural(len(facts.candidates), 'candidate')}, {trained} of them trained.",
            *_heirs(facts),
            *_optimism(facts),
        ),
        panels=(_plane(facts),),
    )


def _heirs(facts: JobFacts) -> tuple[str, ...]:
    return tuple(
        f"Candidate {candidate.rank} is the input network with narrower layers. Its full training "
        "starts from the weights of that"
        + (", so that it may pass its ring by far." if candidate.prediction else ".")
        for candidate in facts.candidates
        if candidate.inherits
    )


def _optimism(facts: JobFacts) -> tuple[str, ...]:
    found = None if facts.job.result is None else facts.job.result.compression.optimism
    if found is None:
        return ()
    way = "too high" if found > 0 else "too low"
    return (f"Predictions were {percent(abs(found), 2)} {way} in the mean.",)


def _plane(facts: JobFacts) -> Panel:
    predictions = [(c.costs.params, c.prediction) for c in facts.candidates if c.prediction]
    predicted = _columns(4, [(params, p.accuracy, p.lower, p.upper) for params, p in predictions])
    trained = [(c.costs.params, c.validation_accuracy) for c in facts.candidates if _trained(c)]
    measured = _columns(2, trained)
    result = None if facts.job.result is None else facts.job.result.compression
    certified = [(result.costs_after.params, result.certificate.accuracy)] if result else []
    delivered = _columns(2, certified)
    near = _near(_columns(2, facts.labelled), [c.costs.params for c in facts.candidates])

    def plot(axes: Axes) -> None:
        shown = [points[1:].ravel() for points in (predicted, measured, delivered, near)]
        scale = AccuracyScale.around(*shown)
        axes.scatter(near[0], scale.place(near[1]), s=14, color=FAINT, alpha=0.7, linewidth=0)
        params, middle, lower, upper = predicted
        axes.vlines(params, scale.place(lower), scale.place(upper), color=BLUE, alpha=0.5)
        for (places, accuracies), style in (
            ((params, middle), _PREDICTED),
            (measured, _MEASURED),
            (delivered, _DELIVERED),
        ):
            if len(places):
                axes.plot(places, scale.place(accuracies), linestyle="", **style)
        axes.set_xlabel("parameters, logarithmic")
        axes.set_ylabel("accuracy")
        _finish_plane(axes, scale, facts)

    return draw("candidates-plane", "Candidates by parameters and accuracy", plot, width=_WIDE)


def _finish_plane(axes: Axes, scale: AccuracyScale, facts: JobFacts) -> None:
    """Draw the budget of parameters, and label the axes of parameters and accuracy."""
    limit = facts.job.spec.request.budget.max_params
    if limit is not None:
        axes.axvline(limit, color=INK, linewidth=1, linestyle=(0, (4, 3)), label="budget")
    axes.set_xscale("log")
    label_counts(axes.xaxis)
    scale.label(axes.yaxis)
    axes.set_ylim(scale.limits)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)


def _columns(number: int, rows: Sequence[Sequence[float | None]]) -> Floats:
    """Return columns `(number, rows)`, also of no rows."""
    return np.array(rows, dtype=np.float64).reshape(-1, number).T


def _near(labelled: Floats, params: Sequence[int]) -> Floats:
    """Return the better labelled nets around the candidates' sizes."""
    sizes, accuracies = labelled
    inside = (sizes > min(params) / 4) & (sizes < max(params) * 4)
    if inside.any():
        # The worse half would press the candidates together.
        inside &= accuracies >= np.median(accuracies[inside])
    near: Floats = labelled[:, inside]
    return near


def _trained(candidate: Candidate) -> bool:
    return candidate.validation_accuracy is not None


def descent_section(facts: JobFacts) -> Section:
    """Return the mean objective over the steps of the descents."""
    title = "The descent"
    if len(facts.descent) < 2:
        return Section("descent", title, missing="The log holds no steps of a descent.")
    first, last = facts.descent[0][1], facts.descent[-1][1]

    def plot(axes: Axes) -> None:
        steps, losses = zip(*facts.descent, strict=True)
        axes.plot(steps, losses, "o-", color=BLUE, markersize=4)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("reported step")
        axes.set_ylabel("mean objective")

    return Section(
        "descent",
        title,
        see="The objective of all starts in the embedding: what predicted accuracy lacks, and what "
        "is over the budget (the paper's eq. 16 and 17). Beside it what the embedding predicts on "
        "the way, in the median of the starts.",
        distrust="Where it hardly falls, the candidates come from the population and the search "
        "around it rather than from the descent.",
        notes=(f"From {first:.3g} to {last:.3g}.",),
        panels=(draw("descent-objective", "Mean objective of the descents", plot), *_path(facts)),
    )


def _path(facts: JobFacts) -> tuple[Panel, ...]:
    """Return what is predicted on the way of the descents, if the log tells it."""
    if len(facts.path) < 2:
        return ()
    params = np.array([point.params for point in facts.path])
    accuracies = np.array([point.accuracy for point in facts.path])

    def plot(axes: Axes) -> None:
        scale = AccuracyScale.around(accuracies)
        places = scale.place(accuracies)
        axes.plot(params, places, "o-", color=BLUE, markersize=4)
        axes.plot(params[-1:], places[-1:], "o", color=ORANGE, label="where they ended")
        axes.set_xlabel("expected parameters, logarithmic")
        axes.set_ylabel("predicted accuracy")
        _finish_plane(axes, scale, facts)

    return (draw("descent-path", "The way of the descents, medians of all starts", plot),)


def training_section(facts: JobFacts) -> Section:
    """Return validation accuracy over time, a line for each training."""
    title = "The trainings"
    if not facts.trainings:
        return Section("training", title, missing="Nothing has been trained yet.")
    shown = facts.trainings[-_MOST_TRAININGS:]

    def plot(axes: Axes) -> None:
        scale = AccuracyScale.around(*(np.array(t.accuracies) for t in shown))
        for index, training in enumerate(shown):
            color = SERIES[index % len(SERIES)]
            places = scale.place(np.array(training.accuracies))
            axes.plot(training.seconds, places, "o-", color=color, markersize=4)
        scale.label(axes.yaxis)
        axes.set_ylim(scale.limits)
        axes.set_xlabel("seconds since the job began")
        axes.set_ylabel("accuracy on validation images")

    return Section(
        "training",
        title,
        see="Accuracy on validation images, a line for each training: the short ones that compare "
        "candidates, then the full one.",
        distrust="A last line that still rises steeply would gain from a longer effort.",
        notes=tuple(f"{t.name}: {percent(t.accuracies[-1], 2)}" for t in shown),
        panels=(draw("training-accuracy", "Validation accuracy over time", plot),),
    )
