"""The tables of a report: costs before and after, layers side by side, the certificate."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from archpress_server.compress.types import Certificate, Latency
from archpress_server.jobs.model import JobRecord
from archpress_trainer.report.scales import percent
from archpress_trainer.space.costs import Costs
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layer import INPUT


@dataclass(frozen=True)
class CostRow:
    """One cost before and after; `share` is the part that is left, for a bar."""

    name: str
    before: str
    after: str
    change: str
    share: float | None = None


@dataclass(frozen=True)
class LayerRow:
    """One layer: its place, kind, attributes and output."""

    place: int
    kind: str
    attributes: str
    output: str


@dataclass(frozen=True)
class ModelRow:
    """One delivered file."""

    name: str
    params: str
    accuracy: str
    size: str
    sha256: str


def request_facts(job: JobRecord) -> list[tuple[str, str]]:
    """Return what was asked, and when."""
    spec, request = job.spec, job.spec.request
    limits = {
        "at most parameters": request.budget.max_params,
        "at most of the parameters": request.budget.max_params_ratio,
        "at most MACs": request.budget.max_macs,
        "at most of the MACs": request.budget.max_macs_ratio,
        "at most seconds for an image": request.budget.max_latency_seconds,
        "at least accuracy": request.budget.min_accuracy,
        "at most accuracy lost": request.budget.max_accuracy_drop,
    }
    facts = [
        ("network", spec.network or spec.artifact or f"{len(request.architecture.layers)} layers"),
        ("data set", request.dataset),
        ("effort, method, seed", f"{request.effort}, {request.method}, {request.seed}"),
        *((name, f"{value:,}") for name, value in limits.items() if value is not None),
        ("embedding", spec.embedding),
        ("created", _time(job.create_time)),
        ("ended", _time(job.end_time)),
        ("time of work", f"{job.run_seconds:,.0f} s in {job.attempt} attempt(s)"),
    ]
    if job.cached_result:
        facts.append(("result", "that of an equal job before"))
    return facts


def verdict(job: JobRecord) -> str:
    """Return in a line how the job ended."""
    if job.error is not None:
        return f"{job.state}: {job.error.message}"
    if job.result is None:
        return f"The job is {job.state}."
    found = job.result.compression
    ratio = found.costs_before.params / found.costs_after.params
    return (
        f"{found.costs_before.params:,} parameters became {found.costs_after.params:,}, "
        f"{ratio:.1f} times less, at an accuracy of {percent(found.certificate.accuracy, 2)} "
        f"({percent(found.certificate.accuracy_lower, 2)} to "
        f"{percent(found.certificate.accuracy_upper, 2)}) on the test images."
    )


def cost_rows(job: JobRecord) -> list[CostRow]:
    """Return accuracy, costs and latency before and after; empty without a result."""
    if job.result is None:
        return []
    found = job.result.compression
    before, after, certificate = found.costs_before, found.costs_after, found.certificate
    accuracy = found.accuracy_before
    lost = None if accuracy is None else 100 * (certificate.accuracy - accuracy)
    return [
        CostRow(
            "accuracy (test)",
            "not measured" if accuracy is None else percent(accuracy, 2),
            percent(certificate.accuracy, 2),
            "" if lost is None else f"{lost:+.2f} points",
        ),
        *(_count_row(name, old, new) for name, old, new in _counts(before, after)),
        CostRow(
            "latency (one image)",
            _latency(certificate.input_latency),
            _latency(certificate.latency),
            _less(certificate.input_latency.median_seconds, certificate.latency.median_seconds),
            certificate.latency.median_seconds / certificate.input_latency.median_seconds,
        ),
    ]


def _counts(before: Costs, after: Costs) -> Sequence[tuple[str, int, int]]:
    return (
        ("parameters", before.params, after.params),
        ("multiply-accumulates", before.macs, after.macs),
        ("peak activation bytes", before.peak_activation_bytes, after.peak_activation_bytes),
    )


def _count_row(name: str, old: int, new: int) -> CostRow:
    return CostRow(name, f"{old:,}", f"{new:,}", _less(old, new), new / old)


def _less(old: float, new: float) -> str:
    return f"{old / new:.1f}x less" if new <= old else f"{new / old:.1f}x more"


def _latency(latency: Latency) -> str:
    low, middle, high = (
        f"{1000 * seconds:.2f}"
        for seconds in (latency.p10_seconds, latency.median_seconds, latency.p90_seconds)
    )
    return f"{middle} ms ({low}-{high})"


def layer_rows(architecture: Architecture) -> list[LayerRow]:
    """Return the layers one by one."""
    rows = []
    for place, (layer, shape) in enumerate(
        zip(architecture.layers, architecture.shapes, strict=True)
    ):
        attributes = [
            f"{name} {value}"
            for name, value in (
                ("kernel", layer.kernel),
                ("stride", layer.stride if layer.stride > 1 else 0),
                ("groups", layer.groups if layer.groups > 1 else 0),
                ("rate", layer.rate),
            )
            if value
        ]
        if layer.inputs != (place - 1,):
            sources = ", ".join("input" if i == INPUT else str(i) for i in layer.inputs)
            attributes.append(f"reads {sources}")
        kind = layer.kind.name.replace("_", " ").lower()
        rows.append(LayerRow(place, kind, ", ".join(attributes), "x".join(map(str, shape))))
    return rows


def certificate_facts(certificate: Certificate) -> list[tuple[str, str]]:
    """Return what was measured on the delivered bytes."""
    return [
        ("test images", f"{certificate.test_images:,}"),
        (
            "accuracy, 95% interval",
            f"{percent(certificate.accuracy, 2)}, {percent(certificate.accuracy_lower, 2)} to "
            f"{percent(certificate.accuracy_upper, 2)}",
        ),
        ("ONNX Runtime and PyTorch agree on", percent(certificate.argmax_agreement, 3)),
        ("largest difference of a logit", f"{certificate.max_abs_logit_difference:.1e}"),
        ("numbers in the file", f"{certificate.params_on_bytes:,}"),
        ("size", f"{certificate.size_bytes:,} bytes"),
        ("SHA-256", certificate.sha256),
        ("opset", str(certificate.opset)),
        (
            "ONNX Runtime, PyTorch",
            f"{certificate.onnxruntime_version}, {certificate.torch_version}",
        ),
        (
            "latency",
            f"{certificate.latency.runs} runs of one image, {certificate.latency.threads} "
            f"thread(s), {certificate.latency.cpu_name}",
        ),
    ]


def model_rows(job: JobRecord) -> list[ModelRow]:
    """Return the delivered files, where there are several."""
    if job.result is None:
        return []
    found = job.result.compression
    rows = [
        ModelRow(
            "delivered" if index == 0 else "smaller",
            f"{model.costs.params:,}",
            percent(model.certificate.accuracy, 2),
            f"{model.certificate.size_bytes:,} bytes",
            model.certificate.sha256,
        )
        for index, model in enumerate(found.front)
    ]
    if found.int8 is not None:
        rows.append(
            ModelRow(
                "INT8 copy",
                f"{found.costs_after.params:,}",
                percent(found.int8.accuracy, 2),
                f"{found.int8.size_bytes:,} bytes",
                found.int8.sha256,
            )
        )
    return rows


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "not yet"
    return f"{datetime.datetime.fromtimestamp(seconds, datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"
