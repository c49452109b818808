"""What `archpress-trainer build` shows while it works."""

from __future__ import annotations

from collections.abc import Callable

from rich.progress import Progress

from archpress_trainer.embedding.fit_autoencoder import FitStep
from archpress_trainer.embedding.manifest import EmbeddingMethod
from archpress_trainer.population.run import Tally
from archpress_trainer.population.spec import PopulationSpec
from archpress_trainer.stages.settings import BuildObserver, BuildSettings
from archpress_trainer.training.device import Compute


def plan_line(
    spec: PopulationSpec, settings: BuildSettings, workers: int | None, compute: Compute
) -> str:
    """Return in one line what a build will do; no number of workers stands for a Ray cluster."""
    fidelity = spec.fidelity
    precision = "bfloat16" if compute.bfloat16 else "float32"
    where = f"{workers} workers on {compute.device.type} ({precision})" if workers else "on Ray"
    if settings.method is EmbeddingMethod.PAPER:
        fit = f"{settings.paper.iterations:,} steps of the paper's fit"
    else:
        chosen = settings.autoencoder
        fit = f"{chosen.iterations:,} steps on {chosen.nets:,} unlabelled nets"
    return (
        f"{spec.dataset}: {settings.nets:,} nets x {fidelity.train_images:,} images x "
        f"{fidelity.epochs} epochs x {fidelity.seeds} seeds, {where}, then {fit}"
    )


def observer(progress: Progress, settings: BuildSettings) -> BuildObserver:
    """Return callbacks that move a bar of labels and one of the fit."""
    fit_total = (
        settings.paper.iterations
        if settings.method is EmbeddingMethod.PAPER
        else settings.autoencoder.iterations
    )
    on_label = _labels(progress, "labels", settings.nets)
    fit = progress.add_task("fit", total=fit_total, note="", start=False)
    on_repeat = _labels(progress, "repeats", settings.repeats) if settings.repeats else None

    def on_fit(iteration: int, note: str) -> None:
        progress.start_task(fit)
        progress.update(fit, completed=iteration, note=note)

    def on_autoencoder(step: FitStep) -> None:
        on_fit(step.iteration, f"loss {step.loss:.3f}, exact {step.exact:.1%}")

    def on_paper(iteration: int, loss: float) -> None:
        on_fit(iteration, f"loss {loss:.3f}")

    return BuildObserver(
        on_label=on_label, on_repeat=on_repeat, on_autoencoder=on_autoencoder, on_paper=on_paper
    )


def _labels(progress: Progress, name: str, total: int) -> Callable[[Tally], None]:
    """Add a bar of labels, which starts with the first one; labels from before set no pace."""
    bar = progress.add_task(name, total=total, note="", resumed=0, start=False)
    started = False

    def on_label(tally: Tally) -> None:
        nonlocal started
        if not started:
            started = True
            progress.start_task(bar)
            progress.update(bar, resumed=tally.done)
        note = f"best {tally.best_accuracy:.2%}, {tally.failed} without a label"
        progress.update(bar, completed=tally.done, note=note)

    return on_label
