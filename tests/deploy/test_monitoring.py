"""Dashboard and alerts against a real server and, where it is installed, a real Prometheus."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from archpress_proto.v1 import compression_service_pb2 as service_pb
from archpress_proto.v1 import jobs_pb2 as pb
from archpress_proto.v1.compression_service_pb2_grpc import CompressionServiceStub
from archpress_server.catalog import load_catalog
from archpress_server.config import ServerConfig
from archpress_server.server import Server
from archpress_server.state import prepare_state
from tests.ports import free_port

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "archpress.json").read_text())
ALERTS = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
_SERIES = re.compile(r"\b(?:archpress|grpc_server)_\w+")
needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None,
    reason="Prometheus is not installed: apt-get install prometheus",
)


def series_in(text: str) -> set[str]:
    return set(_SERIES.findall(text))


@pytest.fixture
async def serving(tmp_path: Path) -> AsyncIterator[int]:
    """The operator's port of a server that had a few calls."""
    config = ServerConfig(
        port=0,
        metrics_port=free_port(),
        workers=0,
        threads_per_worker=1,
        state_dir=tmp_path / "state",
        log_level="error",
    )
    prepare_state(config)
    server = Server(config, load_catalog(config), warm=False)
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub: Any = CompressionServiceStub(channel)
        spec = pb.JobSpec(network="conv-7", dataset="fashion-mnist")
        job = await stub.CreateJob(service_pb.CreateJobRequest(spec=spec))
        await stub.GetJob(service_pb.GetJobRequest(name=job.name))
        await stub.CancelJob(service_pb.CancelJobRequest(name=job.name))
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.CreateJob(service_pb.CreateJobRequest())
    yield config.metrics_port
    await server.stop()


async def fetched(url: str) -> str:
    def get() -> str:
        with urllib.request.urlopen(url, timeout=10) as answer:
            text: str = answer.read().decode()
            return text

    return await asyncio.to_thread(get)


async def test_every_series_that_is_named_exists(serving: int) -> None:
    page = await fetched(f"http://127.0.0.1:{serving}/metrics")
    there = {line.partition("{")[0].partition(" ")[0] for line in page.splitlines()}
    named = series_in(" ".join(EXPRESSIONS)) | series_in(" ".join(r["expr"] for r in RULES))
    assert len(named) > 20
    assert named <= there, named - there


async def test_every_series_of_ours_is_drawn(serving: int) -> None:
    page = await fetched(f"http://127.0.0.1:{serving}/metrics")
    ours = {line.split()[2] for line in page.splitlines() if line.startswith("# TYPE archpress_")}
    drawn = {re.sub(r"_bucket$", "", name) for name in series_in(" ".join(EXPRESSIONS))}
    assert {name for name in ours if not name.endswith("_created")} <= drawn


def test_labels_and_values_in_expressions_exist() -> None:
    from archpress_server.metrics import JOB_REASONS, REJECTIONS

    reasons = {"job_outcomes": JOB_REASONS, "rejected": REJECTIONS}
    for expression in (*EXPRESSIONS, *(rule["expr"] for rule in RULES)):
        for series, values in re.findall(
            r'archpress_(\w+)_total{[^}]*\breason=~"([^"]*)"', expression
        ):
            assert set(values.split("|")) <= set(reasons[series])
        for values in re.findall(r'grpc_code=~"([^"]*)"', expression):
            assert set(values.split("|")) <= {code.name for code in grpc.StatusCode}


def test_panels_have_ids_and_do_not_overlap() -> None:
    assert len(PANELS) >= 30
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_every_alert_is_in_the_page() -> None:
    page = (DEPLOY / "README.md").read_text()
    assert re.findall(r"^\| (Archpress\w+) \|", page, re.M) == [rule["alert"] for rule in RULES]
    assert f"a dashboard of {len(PANELS)} panels" in page


def test_every_alert_says_what_to_do() -> None:
    assert len(RULES) >= 12
    for rule in RULES:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"].endswith(".")
        assert len(rule["annotations"]["runbook"]) > 40


@needs_prometheus
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", "alerts.yml"),
        ("check", "config", "prometheus.yml"),
        ("test", "rules", "alerts_test.yml"),
    ],
    ids=" ".join,
)
def test_promtool_finds_no_fault(arguments: tuple[str, ...]) -> None:
    run = subprocess.run(
        ["promtool", *arguments],
        cwd=DEPLOY / "prometheus",
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.fixture
def prometheus(tmp_path: Path, serving: int) -> Iterator[str]:
    """The address of a Prometheus that scrapes the server, with our alerts."""
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(DEPLOY / "prometheus" / "alerts.yml")]
    config["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{serving}"]}]
    file = tmp_path / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    port = free_port()
    process = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={file}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
        ]
    )
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(30)


async def asked(address: str, expression: str) -> list[Any]:
    query = urllib.parse.urlencode({"query": expression})
    answer = json.loads(await fetched(f"{address}/api/v1/query?{query}"))
    assert answer["status"] == "success"
    found: list[Any] = answer["data"]["result"]
    return found


@needs_prometheus
@pytest.mark.slow
async def test_a_real_prometheus_answers_every_panel(prometheus: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if await asked(prometheus, "up == 1"):
                break
        except OSError:
            pass
        assert time.monotonic() < deadline
        await asyncio.sleep(0.5)
    for expression in EXPRESSIONS:
        filled = expression.replace("$__rate_interval", "1m").replace("$instance", ".*")
        await asked(prometheus, filled)
    (serving,) = await asked(
        prometheus, 'archpress_serving{service="archpress.v1.CompressionService"}'
    )
    assert serving["value"][1] == "1"
    assert await asked(prometheus, 'archpress_jobs{state="cancelled"} == 1')
    rules = json.loads(await fetched(f"{prometheus}/api/v1/rules"))
    health = [rule["health"] for group in rules["data"]["groups"] for rule in group["rules"]]
    assert len(health) == len(RULES)
    assert set(health) <= {"ok", "unknown"}
