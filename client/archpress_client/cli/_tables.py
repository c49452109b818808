"""Tables: a result with its certificate, a plan, jobs, a server."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from archpress_client._info import ServerInfo
from archpress_client._types import FrontModel, Job, Plan, QuantizedModel, Result
from archpress_client.cli import _format


def show_result(console: Console, result: Result) -> None:
    """Print before, after and change, then what was certified."""
    before, after, proof = result.costs_before, result.costs_after, result.certificate
    table = _table("", "before", "after", "change")
    accuracy_before = result.accuracy_before
    points = "" if accuracy_before is None else f"{100 * (proof.accuracy - accuracy_before):+.2f}"
    table.add_row(
        "accuracy",
        "-" if accuracy_before is None else _format.percent(accuracy_before),
        _format.percent(proof.accuracy),
        points and f"{points} points",
    )
    for name, old, new in (
        ("parameters", before.params, after.params),
        ("multiply-accumulates", before.macs, after.macs),
    ):
        table.add_row(name, _format.count(old), _format.count(new), _format.change(old, new))
    # The input network was never a file: its float32 numbers say what one would hold.
    would_be = 4 * before.deployed_params
    table.add_row(
        "file size",
        f"~{_format.size(would_be)}",
        _format.size(proof.size_bytes),
        _format.change(would_be, proof.size_bytes),
    )
    old_latency, new_latency = proof.input_latency, proof.latency
    if new_latency is not None:
        table.add_row(
            "latency (p10-p90)",
            "-" if old_latency is None else _format.latency(old_latency),
            _format.latency(new_latency),
            ""
            if old_latency is None
            else _format.change(old_latency.median_seconds, new_latency.median_seconds),
        )
    table.add_row(
        "peak activation memory",
        _format.size(before.peak_activation_bytes),
        _format.size(after.peak_activation_bytes),
        _format.change(before.peak_activation_bytes, after.peak_activation_bytes),
    )
    console.print(table)
    for line in certificate_lines(result):
        console.print(escape(line), highlight=False, soft_wrap=True)
    if result.front:
        console.print()
        console.print(_front_table(result.front))
    if result.int8 is not None:
        console.print(int8_line(result.int8), highlight=False, soft_wrap=True)


def certificate_lines(result: Result) -> list[str]:
    """Return what was measured on the delivered bytes, in lines."""
    proof = result.certificate
    band = proof.accuracy_interval
    lines = [
        f"certified on {_format.count(proof.test_images)} test images: "
        f"accuracy {_format.percent(proof.accuracy)}"
        + ("" if band is None else f", 95% interval {_format.interval(band)}"),
        f"argmax agreement {_format.percent(proof.argmax_agreement, 3)}, "
        f"largest logit difference {proof.max_abs_logit_difference:.1e}",
        f"sha256 {proof.sha256[:12]}, {_format.count(proof.params_on_bytes)} numbers in the file, "
        f"opset {proof.opset}, onnxruntime {proof.onnxruntime_version}",
    ]
    if proof.latency is not None:
        where = proof.latency
        lines.append(
            f"latency: {where.runs} runs, batch {where.batch_size}, {where.threads} thread(s), "
            f"{where.cpu_name}"
        )
    if result.is_slower:
        lines.append("the multiply-accumulates fell, the latency did NOT")
    if result.optimism is not None:
        points = f"{100 * result.optimism:+.2f} points"
        lines.append(f"predictions for this job's candidates were off by {points} (+ is too high)")
    if len(result.seed_accuracies) > 1:
        lines.append(
            f"best of {len(result.seed_accuracies)} trainings on validation images: "
            + ", ".join(_format.percent(accuracy) for accuracy in result.seed_accuracies)
        )
    if not result.budget_met:
        lines.append("the budget is NOT met")
    return lines


def int8_line(model: QuantizedModel) -> str:
    """Return what was measured on the bytes of a quantized model, in one line."""
    time = "" if model.latency is None else f", latency {_format.latency(model.latency)}"
    return (
        f"INT8: accuracy {_format.percent(model.accuracy)}, "
        f"95% interval {_format.interval(model.accuracy_interval)}, "
        f"{_format.size(model.size_bytes)}{time}, the float model's class for "
        f"{_format.percent(model.argmax_agreement)} of the test images"
    )


def _front_table(front: Iterable[FrontModel]) -> Table:
    table = _table("front", "parameters", "MACs", "accuracy", "95% interval", "file", "latency")
    for place, model in enumerate(front, start=1):
        proof = model.certificate
        band = proof.accuracy_interval
        table.add_row(
            str(place),
            _format.count(model.costs.params),
            _format.count(model.costs.macs),
            _format.percent(model.accuracy),
            "-" if band is None else _format.interval(band),
            _format.size(proof.size_bytes),
            "-" if proof.latency is None else _format.latency(proof.latency),
        )
    return table


def show_plan(console: Console, plan: Plan) -> None:
    """Print the candidates of a plan."""
    before = plan.costs_before
    console.print(
        f"input network: {_format.count(before.params)} parameters, "
        f"{_format.count(before.macs)} multiply-accumulates",
        highlight=False,
    )
    table = _table("rank", "parameters", "MACs", "layers", "predicted accuracy", "90% interval")
    for candidate in (*plan.candidates, *filter(None, [plan.heir])):
        accuracy, interval = candidate.predicted_accuracy, candidate.predicted_interval
        table.add_row(
            "narrowed" if candidate.inherits else str(candidate.rank),
            _format.count(candidate.costs.params),
            _format.count(candidate.costs.macs),
            str(len(candidate.network.layers)),
            "" if accuracy is None else _format.percent(accuracy),
            "" if interval is None else _format.interval(interval),
        )
    console.print(table)
    if plan.heir is not None:
        blind = plan.heir.predicted_accuracy is None
        console.print(
            "narrowed: the input network itself, from its trained weights where a job has them; "
            + ("nothing is predicted for it" if blind else "predicted as if trained from scratch"),
            highlight=False,
            soft_wrap=True,
        )
    for warning in plan.warnings:
        console.print(f"[yellow]warning:[/] {escape(warning)}", highlight=False, soft_wrap=True)


def show_jobs(console: Console, jobs: Iterable[Job]) -> None:
    """Print one line per job."""
    table = _table("name", "state", "data set", "created", "phase", "accuracy")
    for job in jobs:
        queued = f"queued ({job.queue_position})" if job.queue_position else job.state.value
        table.add_row(
            job.name,
            queued,
            escape(job.spec.dataset),
            _format.moment(job.create_time),
            "" if job.progress is None or job.state.is_final else job.progress.phase.value,
            "" if job.result is None else _format.percent(job.result.accuracy),
        )
    console.print(table)


def show_info(console: Console, info: ServerInfo) -> None:
    """Print what a server offers."""
    versions = ", ".join(info.api_versions)
    console.print(f"archpress-server {info.server_version}, API {versions}", highlight=False)
    datasets = _table("data set", "images", "classes", "train", "validation", "test")
    for item in info.datasets:
        datasets.add_row(
            escape(item.name),
            "x".join(str(side) for side in item.input_shape),
            str(item.classes),
            *map(_format.count, (item.train_images, item.validation_images, item.test_images)),
        )
    embeddings = _table(
        "embedding", "data set", "method", "covers", "networks", "tau", "log(params) tau"
    )
    for embedding in info.embeddings:
        quality = embedding.quality
        embeddings.add_row(
            escape(embedding.name),
            escape(embedding.dataset),
            embedding.method.value,
            "joins" if embedding.covers_joins else "chains",
            _format.count(embedding.population_size),
            "-" if quality is None else f"{quality.accuracy_kendall_tau:.2f}",
            "-" if quality is None else f"{quality.baseline_kendall_tau:.2f}",
        )
    networks = _table("network", "data set", "parameters", "MACs")
    for network in info.networks:
        costs = network.costs
        numbers = (_format.count(costs.params), _format.count(costs.macs))
        networks.add_row(escape(network.name), escape(network.dataset), *numbers)
    for title, table in (
        ("data sets", datasets),
        ("embeddings", embeddings),
        ("networks", networks),
    ):
        console.print()
        console.print(table if table.row_count else f"no {title}")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        # A name is better folded than cut: people copy it.
        table.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    return table
