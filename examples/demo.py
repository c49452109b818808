"""The main job, start to end: a server of its own, CONV-7 in over gRPC, a small ONNX file out.

Run by `make demo`. Exits with 0 only if the delivered bytes keep to the budgets and reach the
certified accuracy when counted and run here, and the certificate says that PyTorch agrees.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from archpress_client import ArchpressError, Certificate, Client, UnavailableError
from archpress_trainer.data.registry import DataSources

NETWORK = "conv-7"
DATASET = "fashion-mnist"
MAX_PARAMS = 50_000
MAX_MACS = 4_000_000
MIN_AGREEMENT = 0.9999
OUTPUT = Path("demo-output") / "small.onnx"
START_SECONDS = 60.0
STOP_SECONDS = 30.0


def main() -> int:
    """Run the demo and return its exit status."""
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.unlink(missing_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="archpress-demo-") as folder,
        running_server(Path(folder)) as target,
    ):
        command = [
            *("archpress", "compress", NETWORK, "--server", target, "--dataset", DATASET),
            *("--max-params", str(MAX_PARAMS), "--max-macs", str(MAX_MACS), "--out", str(OUTPUT)),
        ]
        print(f"$ {' '.join(command)}", flush=True)
        command[0] = str(Path(sys.executable).with_name("archpress"))
        status = subprocess.run(command, check=False).returncode
        if status != 0:
            print(f"demo: archpress compress ended with {status}", file=sys.stderr)
            return status
        with Client(target) as client:
            result = next(client.jobs()).result
        if result is None:
            print("demo: the job has no result", file=sys.stderr)
            return 1
        faults = check(OUTPUT, result.certificate)
    for fault in faults:
        print(f"demo: {fault}", file=sys.stderr)
    if not faults:
        print(f"\n{OUTPUT} keeps to {MAX_PARAMS:,} parameters, counted on its bytes.")
    return 1 if faults else 0


@contextmanager
def running_server(state: Path) -> Iterator[str]:
    """Start a server on a free port, yield its address, stop it."""
    port = free_port()
    target = f"127.0.0.1:{port}"
    log = (state / "server.log").open("wb")
    program = str(Path(sys.executable).with_name("archpress-server"))
    arguments = ["--port", str(port), "--metrics-port", "0", "--state-dir", str(state / "state")]
    print(f"$ archpress-server {' '.join(arguments)} &", flush=True)
    server = subprocess.Popen([program, *arguments], stdout=log, stderr=log)
    try:
        wait_until_ready(server, target, state / "server.log")
        yield target
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        log.close()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_ready(server: subprocess.Popen[bytes], target: str, log: Path) -> None:
    """Return once the server answers.

    Raises:
        SystemExit: it ended or does not answer; its log is shown.
    """
    deadline = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with Client(target) as client:
                client.info()
            return
        except UnavailableError:
            time.sleep(0.2)
        except ArchpressError as error:
            raise SystemExit(f"demo: the server refuses to answer: {error}") from error
    raise SystemExit(f"demo: the server did not start\n{log.read_text()}")


def check(path: Path, certificate: Certificate) -> list[str]:
    """Return what is wrong with the delivered file, counted and run here once more."""
    model = onnx.load(path)
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in model.graph.initializer}
    weights = {
        name
        for node in model.graph.node
        if node.op_type in ("Conv", "Gemm", "BatchNormalization")
        for name in node.input[1:3]
    }
    params = sum(sizes[name] for name in weights)
    faults = []
    if params > MAX_PARAMS or certificate.costs.params > MAX_PARAMS:
        faults.append(f"the file holds {params} parameters, the budget is {MAX_PARAMS}")
    if certificate.costs.macs > MAX_MACS:
        faults.append(f"it takes {certificate.costs.macs} MACs, the budget is {MAX_MACS}")
    test = DataSources().load(DATASET).test()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    images = test.images.numpy().astype(np.float32) / 255
    logits = session.run(None, {session.get_inputs()[0].name: images})[0]
    accuracy = float((logits.argmax(axis=1) == test.labels.numpy()).mean())
    if abs(accuracy - certificate.accuracy) > 1e-6:
        faults.append(f"accuracy is {accuracy:.4f}, certified is {certificate.accuracy:.4f}")
    if certificate.argmax_agreement < MIN_AGREEMENT:
        faults.append(f"ONNX Runtime agrees with PyTorch on {certificate.argmax_agreement:.4%}")
    return faults


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
