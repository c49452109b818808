"""The `archpress-trainer` command; each module holds one of its subcommands."""

from __future__ import annotations

import typer

from archpress_trainer.cli.build import build
from archpress_trainer.cli.evaluate import evaluate_command
from archpress_trainer.cli.report import report
from archpress_trainer.cli.show import show

app = typer.Typer(
    help="Build the embedding that archpress compresses in.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(build)
app.command()(show)
app.command("evaluate")(evaluate_command)
app.command()(report)
