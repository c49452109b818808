"""The figures of a report: candidates on the accuracy-size plane, the descent, the trainings."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from archpress_server.compress.types import Candidate
from archpress_server.report.facts import JobFacts
from archpress_trainer.report.drawing import Panel, Section, draw
from archpress_trainer.report.palette import BLUE, FAINT, GREEN, INK, ORANGE, SERIES, SURFACE
from archpress_trainer.report.scales import AccuracyScale, label_counts, percent, plural

_MOST_TRAININGS = 12
_WIDE = 560


def sections(facts: JobFacts) -> list[Section]:
    """Return the figures in the order of the page."""
    return [candidates_section(facts), descent_section(facts), training_section(facts)]


def candidates_section(facts: JobFacts) -> Section:
    """Return the candidates by size: what was predicted, and what was measured then."""
    title = "The candidates"
    if not facts.candidates:
        return Section("candidates", title, missing="The job has not found any candidate yet.")
    trained = sum(c.validation_accuracy is not None for c in facts.candidates)
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
    predicted = [(c.costs.params, c.prediction) for c in facts.candidates if c.prediction]
    params = np.array([params for params, _ in predicted], dtype=np.float64)
    middle, lower, upper = np.array([(p.accuracy, p.lower, p.upper) for _, p in predicted]).T
    measured = [c for c in facts.candidates if c.validation_accuracy is not None]
    result = facts.job.result
    labelled = np.array(facts.labelled, dtype=np.float64).reshape(-1, 2)

    def plot(axes: Axes) -> None:
        near = _near(labelled, params)
        scale = AccuracyScale.around(
            lower, upper, near[:, 1], np.array([_measured(c) for c in measured] or [middle[0]])
        )
        axes.scatter(near[:, 0], scale.place(near[:, 1]), s=14, color=FAINT, alpha=0.7, linewidth=0)
        axes.vlines(params, scale.place(lower), scale.place(upper), color=BLUE, alpha=0.5)
        axes.plot(
            params, scale.place(middle), "o", color=BLUE, markerfacecolor=SURFACE, label="predicted"
        )
        if measured:
            axes.plot(
                [c.costs.params for c in measured],
                scale.place(np.array([_measured(c) for c in measured])),
                "o",
                color=ORANGE,
                label="measured (validation)",
            )
        if result is not None:
            axes.plot(
                result.compression.costs_after.params,
                scale.place(np.array([result.compression.certificate.accuracy])),
                "*",
                color=GREEN,
                markersize=15,
                markeredgecolor=SURFACE,
                label="delivered (test)",
            )
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


def _near(labelled: np.ndarray, params: np.ndarray) -> np.ndarray:
    """Return the better labelled nets around the candidates' sizes."""
    inside = (labelled[:, 0] > params.min() / 4) & (labelled[:, 0] < params.max() * 4)
    found: np.ndarray = labelled[inside]
    if len(found) == 0:
        return found
    # The worse half would press the candidates together.
    better: np.ndarray = found[found[:, 1] >= np.median(found[:, 1])]
    return better


def _measured(candidate: Candidate) -> float:
    return candidate.validation_accuracy or 0.0


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
