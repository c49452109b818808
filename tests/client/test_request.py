"""Arguments become requests, or are refused with every fault named."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import pytest

from archpress_client import (
    Budget,
    InvalidRequestError,
    JobSpec,
    JobState,
    LatencyTable,
    Layer,
    LayerKind,
    LayerLatency,
    Network,
)
from archpress_client import _request as build
from archpress_client._convert_spec import spec_from_proto

TEXT: Any = "0.5"
TABLE_SECONDS = "spec.latency_table.fixed_seconds"
SPEC = JobSpec(network="conv-7", dataset="fashion-mnist")
FULL = JobSpec(
    network=Network((1, 28, 28), 10, [Layer.global_average_pool(), Layer.linear(10)]),
    dataset="cifar10",
    budget=Budget(
        max_params=50_000,
        max_params_ratio=0.5,
        max_macs=10**12,
        max_macs_ratio=1.0,
        max_latency_seconds=0.25,
        min_accuracy=0.0,
        max_accuracy_drop=0.01,
    ),
    seed=2**64 - 1,
    labels={"team": "vision"},
    max_run_time_seconds=1.5,
    max_queue_time_seconds=60.0,
    priority=-100,
)


RELU, DROPOUT = Layer.relu(), Layer.dropout("half")  # type: ignore[arg-type]
ROW = LayerLatency(kind=TEXT, seconds_per_mac=1e-9)


def _of(layer: Layer) -> Network:
    return Network((1, 28, 28), 10, [layer])


@pytest.mark.parametrize("spec", [SPEC, FULL, replace(SPEC, network="artifacts/7")])
def test_spec_round_trip(spec: JobSpec) -> None:
    request = build.create_job(spec, None)
    assert spec_from_proto(request.spec) == spec
    assert uuid.UUID(request.request_id).version == 4


def test_the_model_is_one_of_three() -> None:
    models = ["conv-7", "artifacts/7", FULL.network]
    specs = [build.create_job(replace(SPEC, network=model), None).spec for model in models]
    assert [spec.WhichOneof("model") for spec in specs] == ["network", "artifact", "architecture"]


def test_zero_is_a_value_and_none_is_not() -> None:
    budget = build.create_job(replace(SPEC, budget=Budget(min_accuracy=0.0)), None).spec.budget
    assert budget.HasField("min_accuracy")
    assert not budget.HasField("max_params")
    assert not build.create_job(SPEC, None).spec.HasField("budget")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"network": ""}, "spec.network"),
        ({"network": 7}, "spec.network"),
        ({"dataset": ""}, "spec.dataset"),
        ({"seed": -1}, "spec.seed"),
        ({"seed": 2**64}, "spec.seed"),
        ({"priority": 101}, "spec.priority"),
        ({"max_run_time_seconds": 0.5}, "spec.max_run_time"),
        ({"max_queue_time_seconds": float("nan")}, "spec.max_queue_time"),
        ({"labels": {"Team": "x"}}, "spec.labels"),
        ({"labels": {"team": "x" * 129}}, "spec.labels[team]"),
        ({"labels": {"team": 1}}, "spec.labels[team]"),
        ({"labels": {"team": "\udce9"}}, "spec.labels[team]"),
        ({"labels": {1: "team"}}, "spec.labels"),
        ({"network": "\udce9"}, "spec.network"),
        ({"dataset": "\udce9"}, "spec.dataset"),
        ({"max_run_time_seconds": "60"}, "spec.max_run_time"),
        ({"max_run_time_seconds": 10**400}, "spec.max_run_time"),
        ({"max_queue_time_seconds": -1}, "spec.max_queue_time"),
        ({"labels": "team"}, "spec.labels"),
        ({"latency_table": {}}, "spec.latency_table"),
        ({"network": Network((28, 28), 10, [RELU])}, "spec.architecture.input_shape"),  # type: ignore[arg-type]
        ({"network": Network(7, 10, [RELU])}, "spec.architecture.input_shape"),  # type: ignore[arg-type]
        ({"network": Network((1, 28, 28), 10, ["relu"])}, "spec.architecture.layers[0]"),  # type: ignore[list-item]
        ({"network": Network((1, 28, 28), 10, [DROPOUT])}, "spec.architecture.layers[0].rate"),
        ({"network": _of(Layer.activation(TEXT))}, "spec.architecture.layers[0].kind"),
        ({"network": _of(Layer(3))}, "spec.architecture.layers[0].kind"),  # type: ignore[arg-type]
        ({"network": _of(Layer.conv(8, 3, bias=TEXT))}, "spec.architecture.layers[0].bias"),
        ({"network": _of(Layer(LayerKind.RELU, inputs=5))}, "spec.architecture.layers[0].inputs"),  # type: ignore[arg-type]
        ({"latency_table": LatencyTable(layers=5)}, "spec.latency_table.layers"),  # type: ignore[arg-type]
        ({"latency_table": LatencyTable(layers=[TEXT])}, "spec.latency_table.layers[0]"),
        ({"latency_table": LatencyTable(layers=[ROW])}, "spec.latency_table.layers[0].kind"),
        ({"budget": Budget(max_params_ratio=TEXT)}, "spec.budget.max_params_ratio"),
        ({"budget": Budget(min_accuracy=TEXT)}, "spec.budget.min_accuracy"),
        ({"budget": Budget(max_latency_seconds=TEXT)}, "spec.budget.max_latency"),
        ({"latency_table": LatencyTable(layers=(), fixed_seconds=TEXT)}, TABLE_SECONDS),
        ({"latency_table": LatencyTable(layers=(), fixed_seconds=10**400)}, TABLE_SECONDS),
        ({"labels": {f"k{i}": "" for i in range(33)}}, "spec.labels"),
        ({"budget": Budget(max_params=0)}, "spec.budget.max_params"),
        ({"budget": Budget(max_params=True)}, "spec.budget.max_params"),
        ({"budget": Budget(max_macs=2**63)}, "spec.budget.max_macs"),
        ({"budget": Budget(max_params_ratio=0.0)}, "spec.budget.max_params_ratio"),
        ({"budget": Budget(max_macs_ratio=1.1)}, "spec.budget.max_macs_ratio"),
        ({"budget": Budget(max_macs_ratio=float("nan"))}, "spec.budget.max_macs_ratio"),
        ({"budget": Budget(min_accuracy=93.0)}, "spec.budget.min_accuracy"),
        ({"budget": Budget(max_accuracy_drop=-0.1)}, "spec.budget.max_accuracy_drop"),
        ({"budget": Budget(max_latency_seconds=0.0)}, "spec.budget.max_latency"),
        ({"network": Network((1, 28, 28), 10, [])}, "spec.architecture.layers"),
        (
            {"network": Network((1, 28, 28), 10, [Layer.linear(2**31)])},
            "spec.architecture.layers[0].out_channels",
        ),
        (
            {"network": Network((1, 28, 28), 10, [Layer.add(0, -1)])},
            "spec.architecture.layers[0].inputs",
        ),
        ({"network": Network((0, 28, 28), 1, [Layer.relu()])}, "spec.architecture.classes"),
    ],
)
def test_violations_are_named_by_the_field_of_the_api(change: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        build.create_job(replace(SPEC, **change), None)
    assert field in [fault.field for fault in caught.value.violations]


def test_spans_say_both_limits() -> None:
    build.create_job(replace(SPEC, max_queue_time_seconds=0.0), None)
    with pytest.raises(InvalidRequestError, match="must be 1 to 315576000000"):
        build.create_job(replace(SPEC, max_run_time_seconds=1e12), None)


def test_all_violations_come_at_once() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        build.create_job(replace(SPEC, dataset="", budget=Budget(max_params=0)), "not-a-uuid")
    fields = [fault.field for fault in caught.value.violations]
    assert fields == ["spec.dataset", "spec.budget.max_params", "request_id"]
    assert "max_params" in str(caught.value)


def test_request_id_is_kept() -> None:
    wanted = str(uuid.uuid4())
    assert build.create_job(SPEC, wanted).request_id == wanted
    with pytest.raises(InvalidRequestError, match="version 4"):
        build.create_job(SPEC, str(uuid.uuid1()))


def test_list_and_plan() -> None:
    request = build.list_jobs([JobState.QUEUED, "RUNNING"], {"a": "b"}, 10)
    assert list(request.states) == [1, 2]
    for single in (JobState.RUNNING, "running"):
        assert list(build.list_jobs(single, None, 10).states) == [2]
    with pytest.raises(InvalidRequestError, match=r"is 'gone', must be one of .*succeeded$"):
        build.list_jobs(["gone"], None, 10)
    with pytest.raises(InvalidRequestError, match="is 'gone', must be one of"):
        build.list_jobs("gone", None, 10)
    with pytest.raises(InvalidRequestError, match="page_size"):
        build.list_jobs(None, None, 1001)
    with pytest.raises(InvalidRequestError, match="is 'unknown', must be"):
        build.list_jobs([JobState.UNKNOWN], None, 10)
    with pytest.raises(InvalidRequestError, match="labels: 'a': 1 is no pair of texts"):
        build.list_jobs(None, {"a": 1}, 10)  # type: ignore[dict-item]
    with pytest.raises(InvalidRequestError, match="labels: is 'a', must map texts to texts"):
        build.list_jobs(None, "a", 10)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match="max_candidates"):
        build.plan(SPEC, 65)


def test_job_names() -> None:
    assert build.job_name("jobs/7") == build.job_name("7") == "jobs/7"
    for wrong in ("", "jobs/", "jobs/a/b", "jobs/a b", "../x"):
        with pytest.raises(InvalidRequestError):
            build.job_name(wrong)


@pytest.mark.parametrize("name", ["", "a/b", None, 7, "\udce9"])
def test_what_is_no_name_of_a_job_is_refused(name: Any) -> None:
    with pytest.raises(InvalidRequestError, match="is no name of a job"):
        build.job_name(name)
