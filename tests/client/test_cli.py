"""The command: what it prints, and its exit codes."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2
from typer.testing import CliRunner

from archpress_client import JobHandle, Layer, Network, Retry
from archpress_client.cli._app import app
from tests.client.scripted import ELSEWHERE, ScriptedServer
from tests.client.told_jobs import MODEL, error_status
from tests.server.auth.certificates import Authority, Files

COMPRESS = ("compress", "conv-7", "--dataset", "fashion-mnist")


@pytest.fixture
def run(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("ARCHPRESS_SERVER", server.target)

    def invoke(*arguments: str) -> Any:
        return CliRunner().invoke(app, list(arguments), catch_exceptions=False)

    return invoke


def test_compress_to_a_file(run: Any, server: ScriptedServer, tmp_path: Path) -> None:
    out = tmp_path / "small.onnx"
    done = run(*COMPRESS, "--max-params", "50000", "--label", "team=a", "--out", str(out))
    assert done.exit_code == 0, done.output
    assert out.read_bytes() == MODEL
    for text in (
        "parameters",
        "708,000",
        "48,000",
        "14.8x less",
        "94.00%",
        "93.12%",
        "-0.88 points",
        "0.20 ms (0.18-0.24)",
        "150.5 KB",
        "95% interval 92.61-93.60%",
        "10,000 test images",
        "argmax agreement 100.000%",
        "3.1e-06",
        "onnxruntime 1.32.0",
        "A CPU [x]",
        f"wrote {out}",
    ):
        assert text in done.stdout, text
    assert "retrain" in done.stderr
    assert "candidate 1: 40,001 parameters, predicted 93.00%\n" in done.stderr
    assert "candidate 2, the input narrowed: 40,002 parameters\n" in done.stderr
    assert "info: a line [not markup]" in done.stderr
    assert dict(server.asked("CreateJob")[0].spec.labels) == {"team": "a"}


def test_a_terminal_shows_phase_loss_accuracy_and_time_left(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    shown = run(*COMPRESS).stderr
    assert re.search(r"retrain .* 4/4 .*loss 0\.250 .*accuracy 88\.00% .*ETA 0:56", shown), shown
    assert "epoch [of the winner]" in shown
    assert "info: a line [not markup]" in shown


def test_a_result_of_an_equal_job_is_told(run: Any, server: ScriptedServer) -> None:
    run(*COMPRESS, "--detach")
    assert "equal job" not in run("watch", "jobs/1").stderr
    server.jobs["jobs/1"].cached_result = True
    told = run("watch", "jobs/1").stderr
    assert "the result of an equal job before; another --seed trains anew\n" in told


def test_compress_a_network_from_a_file(run: Any, server: ScriptedServer, tmp_path: Path) -> None:
    path = tmp_path / "net.json"
    Network((1, 28, 28), 10, [Layer.global_average_pool(), Layer.linear(10)]).save(path)
    done = run("compress", str(path), "--dataset", "fashion-mnist", "--detach")
    assert (done.exit_code, done.stdout) == (0, "jobs/1\n")
    assert len(server.asked("CreateJob")[0].spec.architecture.layers) == 2


def test_json_is_one_object(run: Any, tmp_path: Path) -> None:
    done = run(*COMPRESS, "--json", "--out", str(tmp_path / "x.onnx"))
    record = json.loads(done.stdout)
    assert done.exit_code == 0
    assert "retrain" in done.stderr
    assert record["job"] == "jobs/1"
    assert record["result"]["costs_after"]["params"] == 48_000
    assert record["result"]["network"]["layers"][0]["kind"] == "CONVOLUTION"
    assert record["result"]["certificate"]["latency"]["runs"] == 200
    assert "_source" not in record["result"]


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (("plan", *COMPRESS[1:]), "plan"),
        (("jobs",), "jobs"),
        (("info",), "server"),
        (("cancel", "jobs/1"), "job"),
        (("download", "jobs/1", "--out", "x.onnx"), "result"),
        (("watch", "jobs/1"), "result"),
        (("report", "jobs/1", "--out", "x.html"), "out"),
    ],
)
def test_every_command_speaks_json_and_text(
    run: Any,
    arguments: tuple[str, ...],
    key: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    run(*COMPRESS, "--detach")
    text = run(*arguments)
    assert text.exit_code == 0, text.output
    assert text.stdout.strip()
    if key != "job":
        record = json.loads(run(*arguments, "--json").stdout)
        assert key in record


def test_tables(run: Any) -> None:
    run(*COMPRESS, "--detach")
    assert "jobs/1" in run("jobs").stdout
    assert "queued (1)" in run("jobs", "--state", "queued").stdout
    run(*COMPRESS, "--detach", "--label", "team=vision", "--label", "stage=test")
    marked = run("jobs", "--label", "team=vision", "--label", "stage=test").stdout
    assert "jobs/2" in marked
    assert "jobs/1" not in marked
    assert "jobs/" not in run("jobs", "--label", "team=speech").stdout
    info = run("info").stdout
    assert "archpress-server 0.1.0" in info
    assert "1x28x28" in info
    plan = run("plan", *COMPRESS[1:], "--candidates", "2").stdout
    assert "40,002" in plan
    assert re.search(r"^ *narrowed +40,003 ", plan, re.MULTILINE)
    assert "where a job has them; nothing is predicted for it" in plan
    assert "warning: the input network" in plan


def test_a_plan_may_be_bounded_by_accuracy_alone(run: Any, server: ScriptedServer) -> None:
    done = run("plan", *COMPRESS[1:], "--max-accuracy-drop", "0.01")
    assert done.exit_code == 0, done.output
    (request,) = server.asked("Plan")
    assert request.spec.budget.max_accuracy_drop == 0.01


def test_a_failed_job(run: Any, server: ScriptedServer) -> None:
    server.script.final = "failed"
    done = run(*COMPRESS)
    assert done.exit_code == 1
    assert "error: jobs/1 failed: 93.1% is below 95%" in done.stderr
    assert "archpress download jobs/1" in done.stderr
    again = run("watch", "jobs/1", "--json")
    record = json.loads(again.stdout)
    assert again.exit_code == 1
    assert record["error"]["reason"] == "BUDGET_UNREACHABLE"
    assert record["job"]["result"]["nearest_budget"]["min_accuracy"] == 0.9312


def test_a_cancelled_job(run: Any, server: ScriptedServer) -> None:
    server.script.final = "cancelled"
    done = run(*COMPRESS)
    assert done.exit_code == 1
    assert "jobs/1 was cancelled" in done.stderr
    assert run("download", "jobs/1", "--out", "x.onnx").exit_code == 2


def test_refused_requests(run: Any, server: ScriptedServer) -> None:
    code = grpc.StatusCode.INVALID_ARGUMENT
    infeasible = error_status(code, "too small", "BUDGET_INFEASIBLE", {"max_params": "1234"})
    server.script.refusals = [(code, infeasible)]
    done = run(*COMPRESS, "--max-params", "10")
    assert done.exit_code == 2
    assert done.stderr == "error: too small\n  nearest max_params: 1234\n"
    server.script.refusals = [(code, infeasible)]
    record = json.loads(run(*COMPRESS, "--max-params", "10", "--json").stdout)
    assert record["error"]["metadata"] == {"max_params": "1234"}


def test_a_refused_token_says_where_it_comes_from(run: Any, server: ScriptedServer) -> None:
    code = grpc.StatusCode.UNAUTHENTICATED
    server.script.refusals = [(code, error_status(code, "it has expired", "TOKEN_EXPIRED"))]
    done = run(*COMPRESS)
    assert done.exit_code == 2
    first, second = done.stderr.splitlines()
    assert first == "error: it has expired"
    assert "ARCHPRESS_TOKEN" in second


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((*COMPRESS, "--max-params", "0"), "spec.budget.max_params"),
        ((*COMPRESS, "--max-params", "many"), "--max-params"),
        ((*COMPRESS, "--effort", "huge"), "--effort"),
        ((*COMPRESS, "--label", "x"), "KEY=VALUE"),
        (("compress", "--dataset", "x"), "NETWORK"),
        (("info", "--cert", "mine.pem"), "--key"),
        (("info", "--key", "mine.pem"), "--cert"),
        (("watch", "a/b"), "no name of a job"),
        (("watch", "nowhere"), "no jobs/nowhere"),
    ],
)
def test_bad_usage(run: Any, arguments: tuple[str, ...], text: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert text in done.stderr


def test_missing_files(run: Any, tmp_path: Path) -> None:
    missing = run("compress", str(tmp_path / "no.json"), "--dataset", "x")
    assert missing.exit_code == 2
    assert "no.json" in missing.stderr
    nowhere = run(*COMPRESS, "--out", str(tmp_path / "no" / "x.onnx"))
    assert nowhere.exit_code == 2
    assert "no folder" in nowhere.stderr


def test_bad_usage_speaks_json_too(run: Any, tmp_path: Path) -> None:
    done = run("compress", str(tmp_path / "no.onnx"), "--dataset", "x", "--json")
    assert done.exit_code == 2
    assert "no.onnx: No such file" in json.loads(done.stdout)["error"]["message"]


def test_a_model_that_ends_the_program_is_told(run: Any, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("raise SystemExit(0)")
    done = run("compress", f"{tmp_path / 'model.py'}:net", "--dataset", "x")
    assert done.exit_code == 2
    assert "SystemExit" in done.stderr


def test_a_result_that_cannot_be_saved_can_be_got_again(
    run: Any, server: ScriptedServer, tmp_path: Path
) -> None:
    server.script.corrupt = True
    out = tmp_path / "small.onnx"
    done = run(*COMPRESS, "--out", str(out))
    assert done.exit_code == 1
    assert f"Get it: archpress download jobs/1 --out {out}" in done.stderr
    assert not out.exists()


def test_no_server(run: Any) -> None:
    done = run("info", "--server", "127.0.0.1:1")
    assert done.exit_code == 3
    assert done.stderr.count("\n") == 1
    assert "no archpress server answers at 127.0.0.1:1" in done.stderr
    assert "archpress-server" in done.stderr


def test_why_no_server_answers_is_told(run: Any, server: ScriptedServer) -> None:
    cause = "Ssl handshake failed: CERTIFICATE_VERIFY_FAILED: self-signed certificate"
    refusal = (grpc.StatusCode.UNAVAILABLE, status_pb2.Status(message=cause))
    server.script.refusals = [refusal] * 3
    done = run("info")
    assert done.exit_code == 3
    assert done.stderr.endswith(f"ARCHPRESS_SERVER): {cause}\n")


def test_insecure_lets_plain_text_leave_the_machine(
    run: Any, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Retry, "delay_seconds", lambda *_: 0.0)
    options = ("--server", f"{ELSEWHERE}:{server.port}")
    assert run("info", *options).exit_code == 3
    assert server.calls == []
    assert run("info", *options, "--insecure").exit_code == 0


def test_certificates_are_read_from_files(run: Any, tmp_path: Path) -> None:
    authority, files = Authority(), Files(tmp_path)
    chain, key = authority.issue("127.0.0.1")
    files.write((chain, key), authority.pem)
    server = ScriptedServer(grpc.ssl_server_credentials([(key, chain)], authority.pem, True))
    server.start()
    mine = ("--cert", str(files.certificate), "--key", str(files.key))
    done = run("info", "--server", server.target, "--ca", str(files.ca), *mine)
    server.stop()
    assert done.exit_code == 0, done.output


def test_no_server_for_a_module(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    source = "from torch import nn\n\nclass Net(nn.Sequential):\n    pass\n"
    path.write_text(source)
    options = ("--dataset", "fashion-mnist", "--server", "127.0.0.1:1")
    done = run("plan", f"{path}:Net", *options)
    assert done.exit_code == 3
    assert "no archpress server answers at 127.0.0.1:1" in done.stderr


def test_ctrl_c_detaches(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(JobHandle, "result", interrupted)
    done = run(*COMPRESS)
    assert done.exit_code == 130
    assert "archpress watch jobs/1" in done.stderr


def test_faults_of_the_program_show_no_traceback(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(JobHandle, "result", broken)
    done = run(*COMPRESS)
    assert done.exit_code == 1
    assert done.stderr.endswith("a fault of this program: ZeroDivisionError: oops\n")


def test_help_names_the_commands(run: Any) -> None:
    text = run("--help").stdout
    for name in ("compress", "plan", "jobs", "watch", "cancel", "download", "info"):
        assert name in text


def test_without_the_extra() -> None:
    code = "import sys; sys.modules['typer'] = None; from archpress_client.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "archpress-client[cli]" in done.stderr


def test_all_faults_of_a_request_are_listed(run: Any) -> None:
    done = run(*COMPRESS, "--max-params", "0", "--min-accuracy", "93")
    assert done.stderr.splitlines() == [
        "error: the request has 2 faults",
        "  spec.budget.max_params: is 0, must be 1 to 9223372036854775807",
        "  spec.budget.min_accuracy: is 93.0, must be 0 to 1",
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_of_a_real_process(server: ScriptedServer) -> None:
    server.script.never_ends = True
    # A shell's background jobs ignore the signal, and their children inherit that.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{heed}; from archpress_client.cli import main; main()"
    command = [sys.executable, "-c", code, *COMPRESS, "--server", server.target]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        told = iter(process.stderr.readline, "")
        assert any("retrain" in line for line in told)
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(20) == 130
    assert rest.splitlines()[-1].endswith("Watch it again: archpress watch jobs/1")
    assert "Traceback" not in rest


def test_an_onnx_file_is_uploaded_first(run: Any, server: ScriptedServer, tmp_path: Path) -> None:
    path = tmp_path / "mine.onnx"
    path.write_bytes(MODEL)
    done = run("compress", str(path), "--dataset", "fashion-mnist", "--detach")
    assert done.exit_code == 0, done.output
    assert server.asked("CreateJob")[0].spec.artifact == "artifacts/up"
    missing = run("compress", "none.onnx", "--dataset", "fashion-mnist")
    assert missing.exit_code == 2
    assert "none.onnx: No such file" in missing.stderr
