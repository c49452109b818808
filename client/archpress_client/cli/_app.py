"""The commands."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from archpress_client._errors import ArchpressError, InvalidRequestError, UnavailableError
from archpress_client._job import JobHandle
from archpress_client._types import Effort, Method, Result
from archpress_client.cli import _options as options
from archpress_client.cli import _tables
from archpress_client.cli._errors import INTERRUPTED, reported
from archpress_client.cli._files import save_all, write_text
from archpress_client.cli._json import to_plain
from archpress_client.cli._live import Live
from archpress_client.cli._network_argument import read_network

app = typer.Typer(
    help="Compress convolutional networks with an archpress server.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.command()
def compress(
    network: options.NetworkArgument,
    dataset: options.Dataset,
    max_params: options.MaxParams = None,
    max_params_ratio: options.MaxParamsRatio = None,
    max_macs: options.MaxMacs = None,
    max_macs_ratio: options.MaxMacsRatio = None,
    max_latency_seconds: options.MaxLatencySeconds = None,
    latency_table: options.LatencyTableFile = None,
    min_accuracy: options.MinAccuracy = None,
    max_accuracy_drop: options.MaxAccuracyDrop = None,
    effort: options.EffortOption = Effort.DRAFT,
    method: options.MethodOption = Method.DEFAULT,
    seed: options.Seed = 0,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A mark by which `jobs` finds it; may be repeated."),
    ] = None,
    max_run_time_seconds: Annotated[float | None, typer.Option(help="Longest work.")] = None,
    pareto: Annotated[
        int, typer.Option(metavar="N", help="Most models of different sizes, 1 to 8.")
    ] = 1,
    int8: Annotated[bool, typer.Option("--int8", help="Deliver the result in 8 bits too.")] = False,
    seeds: Annotated[int, typer.Option(help="Full trainings, of which the best is taken.")] = 1,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for the end.")] = False,
    out: options.Out = None,
    server: options.Server = options.DEFAULT_SERVER,
    insecure: options.Insecure = False,
    ca: options.Ca = None,
    cert: options.Certificate = None,
    key: options.Key = None,
    as_json: options.AsJson = False,
) -> None:
    """Make a network smaller, and watch the job until it is done."""
    with reported(server, as_json), options.connect(server, insecure, ca, cert, key) as client:
        options.check_out(out)
        job = client.compress(
            read_network(client, network, dataset),
            dataset=dataset,
            max_params=max_params,
            max_params_ratio=max_params_ratio,
            max_macs=max_macs,
            max_macs_ratio=max_macs_ratio,
            max_latency_seconds=max_latency_seconds,
            min_accuracy=min_accuracy,
            max_accuracy_drop=max_accuracy_drop,
            latency_table=options.read_latency_table(latency_table),
            effort=effort,
            method=method,
            seed=seed,
            labels=options.read_labels(label or []),
            max_run_time_seconds=max_run_time_seconds,
            pareto_models=pareto,
            int8=int8,
            training_seeds=seeds,
        )
        if detach:
            _print_json({"job": job.name}) if as_json else typer.echo(job.name)
            return
        _follow(job, out, as_json)


@app.command()
def plan(
    network: options.NetworkArgument,
    dataset: options.Dataset,
    max_params: options.MaxParams = None,
    max_params_ratio: options.MaxParamsRatio = None,
    max_macs: options.MaxMacs = None,
    max_macs_ratio: options.MaxMacsRatio = None,
    max_latency_seconds: options.MaxLatencySeconds = None,
    latency_table: options.LatencyTableFile = None,
    min_accuracy: options.MinAccuracy = None,
    max_accuracy_drop: options.MaxAccuracyDrop = None,
    effort: options.EffortOption = Effort.DRAFT,
    method: options.MethodOption = Method.DEFAULT,
    seed: options.Seed = 0,
    candidates: Annotated[int, typer.Option(help="Most candidates wanted.")] = 8,
    server: options.Server = options.DEFAULT_SERVER,
    insecure: options.Insecure = False,
    ca: options.Ca = None,
    cert: options.Certificate = None,
    key: options.Key = None,
    as_json: options.AsJson = False,
) -> None:
    """Show what a job would consider, without training."""
    with reported(server, as_json), options.connect(server, insecure, ca, cert, key) as client:
        proposed = client.plan(
            read_network(client, network, dataset),
            dataset=dataset,
            max_params=max_params,
            max_params_ratio=max_params_ratio,
            max_macs=max_macs,
            max_macs_ratio=max_macs_ratio,
            max_latency_seconds=max_latency_seconds,
            min_accuracy=min_accuracy,
            max_accuracy_drop=max_accuracy_drop,
            latency_table=options.read_latency_table(latency_table),
            effort=effort,
            method=method,
            seed=seed,
            max_candidates=candidates,
        )
        if as_json:
            _print_json({"plan": to_plain(proposed)})
        else:
            _tables.show_plan(Console(), proposed)


@app.command()
def jobs(
    state: options.State = None,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Only jobs with this mark; may be repeated."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most jobs to show.")] = 50,
    server: options.Server = options.DEFAULT_SERVER,
    insecure: options.Insecure = False,
    ca: options.Ca = None,
    cert: options.Certificate = None,
    key: options.Key = None,
    as_json: options.AsJson = False,
) -> None:
    """List the jobs, newest first."""
    with reported(server, as_json), options.connect(server, insecure, ca, cert, key) as client:
        marks = options.read_labels(label or [])
        found = list(islice(client.jobs(state, labels=marks, page_size=min(limit, 1000)), limit))
        if as_json:
            _print_json({"jobs": to_plain(found)})
        else:
            _tables.show_jobs(Console(), found)


@app.command()
def watch(
    name: options.JobName,
    out: options.Out = None,
    server: options.Server = options.DEFAULT_SERVER,
    insecure: options.Insecure = False,
    ca: options.Ca = None,
    cert: options.Certificate = None,
    key: options.Key = None,
    as_json: options.AsJson = False,
) -> None:
    """Watch a job until it is done."""
    with reported(server, as_json), options.connect(server, insecure, ca, cert, key) as client:
        options.check_out(out)
        _follow(client.job(name), out, as_json)


@app.command()
def cancel(
    name: options.JobName,
    server: options.Server = options.DEFAULT_SERVER,
    insecure: options.Insecure = False,
    ca: options.Ca = None,
    cert: options.Certificate = None,
    key: options.Key = None,
    as_json: options.AsJson = False,
) -> None:
    """Ask a job to stop."""
    with reported(server, as_json), options.connect(server, insecure, ca, cert, key) as client:
        job = client.cancel(name)
        if as_json:
            _print_json({"job": to_plain(job)})
        else:
            typer.echo(f"{job.name} is {job.state.value}")


@app.command()
def download(
    name: options.JobName,
    out: Annotated[
        Path,
        typer.Option(
            help="File to write the trained network to (ONNX); others of the job go beside."
        ),
    ],
    server: options.Server = options.DEFAULT_SERVER,
    insecure: options.Insecure = False,
    ca: options.Ca = None,
    cert: options.Certificate = None,
    key: options.Key = None,
    as_json: options.AsJson = False,
) -> None:
    """Write the network of a finished job to a file."""
    with reported(server, as_json), options.connect(server, insecure, ca, cert, key) as client:
        options.check_out(out)
        job = client.job(name).status()
        # A failed job may have one too: the best that was found.
        if job.result is None:
            raise InvalidRequestError(f"{job.name} is {job.state.value} and has no network")
        _deliver(job.name, job.result, out, as_json)


@app.command()
def report(
    name: options.JobName,
    out: Annotated[Path, typer.Option(help="File to write the page to (HTML).")],
    server: options.Server = options.DEFAULT_SERVER,
    insecure: options.Insecure = False,
    ca: options.Ca = None,
    cert: options.Certificate = None,
    key: options.Key = None,
    as_json: options.AsJson = False,
) -> None:
    """Draw a job: costs, candidates, descent, trainings, layers, certificate."""
    with reported(server, as_json), options.connect(server, insecure, ca, cert, key) as client:
        options.check_out(out)
        job = client.job(name)
        write_text(job.report(), out)
        if as_json:
            _print_json({"job": job.name, "out": str(out)})
        else:
            typer.echo(f"wrote {out}")


@app.command()
def info(
    server: options.Server = options.DEFAULT_SERVER,
    insecure: options.Insecure = False,
    ca: options.Ca = None,
    cert: options.Certificate = None,
    key: options.Key = None,
    as_json: options.AsJson = False,
) -> None:
    """Show what the server offers."""
    with reported(server, as_json), options.connect(server, insecure, ca, cert, key) as client:
        described = client.info()
        if as_json:
            _print_json({"server": to_plain(described)})
        else:
            _tables.show_info(Console(), described)


def _follow(job: JobHandle, out: Path | None, as_json: bool) -> None:
    """Wait for a job's end, showing how it gets on, and deliver what it made."""
    again = f"archpress watch {job.name}"
    try:
        with Live() as live:
            result = job.result(on_event=live.show)
    except KeyboardInterrupt:
        typer.echo(f"detached; the job goes on. Watch it again: {again}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except UnavailableError:
        typer.echo(f"lost sight of {job.name}. Watch it again: {again}", err=True)
        raise
    _deliver(job.name, result, out, as_json)


def _deliver(name: str, result: Result, out: Path | None, as_json: bool) -> None:
    files = [] if out is None else _saved(name, result, out)
    if as_json:
        paths = [str(path) for path in files]
        record = {"job": name, "result": to_plain(result), "out": paths[0] if paths else None}
        _print_json({**record, "files": paths})
        return
    _tables.show_result(Console(), result)
    if out is None:
        typer.echo(f"get the network: archpress download {name} --out small.onnx")
    for path in files:
        typer.echo(f"wrote {path}")


def _saved(name: str, result: Result, out: Path) -> list[Path]:
    try:
        return save_all(result, out)
    except (ArchpressError, OSError):
        text = f"{name} is done, but {out} was not written"
        typer.echo(f"{text}. Get it: archpress download {name} --out {out}", err=True)
        raise


def _print_json(record: dict[str, object]) -> None:
    typer.echo(json.dumps(record))
