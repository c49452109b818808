"""`archpress-trainer evaluate`: an embedding's quality on held-out nets."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from archpress_trainer.cli.console import console, one_line_errors
from archpress_trainer.embedding.bundled import artifact_folder
from archpress_trainer.embedding.paper import PaperSettings
from archpress_trainer.evaluation import Evaluation, Spread, evaluate


def evaluate_command(
    embedding: Annotated[
        str, typer.Argument(help="Name of a bundled embedding, or folder of an artifact.")
    ],
    seeds: Annotated[int, typer.Option(min=1, help="Splits of the nets into folds.")] = 3,
    paper_iterations: Annotated[
        int,
        typer.Option(min=0, help="Steps of the paper's model fitted beside it; 0 leaves it out."),
    ] = 80_000,
    output: Annotated[Path | None, typer.Option(help="JSON file for the numbers.")] = None,
) -> None:
    """Measure predictions on held-out nets, beside simple predictors, and the latent space."""
    with one_line_errors():
        paper = replace(PaperSettings(), iterations=paper_iterations) if paper_iterations else None
        with console.status("loading") as status:
            found = evaluate(
                artifact_folder(embedding),
                seeds=seeds,
                paper=paper,
                on_stage=lambda stage: status.update(f"measuring: {stage}"),
            )
        print_evaluation(found)
        if output is not None:
            output.write_text(json.dumps(found.to_json(), indent=1) + "\n")


def print_evaluation(found: Evaluation) -> None:
    """Print the table of predictors, and what else was measured."""
    table = Table(
        "predictor",
        title=f"{found.embedding}: {found.nets} labelled nets, each held out once a split",
        title_justify="left",
    )
    for heading in ("tau", "tau within 10% of params", "mean error"):
        table.add_column(heading, justify="right")
    for row in found.rows:
        error = "-" if row.error is None else f"{row.error.mean:.2%}"
        table.add_row(row.name, _spread(row.tau), _spread(row.tau_in_band), error)
    console.print(table)
    latent, metrics = found.latent, found.metrics
    facts = Table(show_header=False)
    if found.noise is not None:
        facts.add_row(
            f"tau of a perfect predictor, from {found.noise.nets} nets trained twice",
            f"{found.noise.ceiling:.3f}",
        )
        facts.add_row("standard deviation of a label", f"{found.noise.deviation:.2%}")
    facts.add_row("accuracies inside the 90% interval", f"{metrics['interval_coverage']:.1%}")
    facts.add_row("unseen nets that decode to themselves", f"{metrics['exact_reconstruction']:.1%}")
    facts.add_row(f"valid decodes of {latent.points} points", f"{latent.valid:.1%}")
    facts.add_row("drift of the prediction when decoded and encoded", f"{latent.drift:.2%}")
    facts.add_row("gap between a point's prediction and its net's", f"{latent.gap:.2%}")
    console.print(facts)


def _spread(value: Spread) -> str:
    return f"{value.mean:.3f}" + (f" ± {value.deviation:.3f}" if value.n > 1 else "")
