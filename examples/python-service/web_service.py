"""A web service that compresses networks for its own users, with nothing but the SDK.

    python web_service.py --server localhost:50051 --port 8080

    curl -d '{"network": "conv-7", "dataset": "fashion-mnist", "max_params": 50000}' \
        localhost:8080/jobs
    curl localhost:8080/jobs/ID
    curl -o small.onnx localhost:8080/jobs/ID/model
"""

from __future__ import annotations

import argparse
import json
import os
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from archpress_client import (
    ArchpressError,
    Client,
    InvalidRequestError,
    Job,
    NotFoundError,
    PermissionDeniedError,
    QuotaExceededError,
    UnavailableError,
)

_MOST_BYTES = 1_000_000
_STATUSES: tuple[tuple[type[ArchpressError], HTTPStatus], ...] = (
    (InvalidRequestError, HTTPStatus.BAD_REQUEST),
    (NotFoundError, HTTPStatus.NOT_FOUND),
    # Of callers with tokens: another's job, or none.
    (PermissionDeniedError, HTTPStatus.NOT_FOUND),
    (QuotaExceededError, HTTPStatus.TOO_MANY_REQUESTS),
    (UnavailableError, HTTPStatus.SERVICE_UNAVAILABLE),
    (ArchpressError, HTTPStatus.BAD_GATEWAY),
)


class Handler(BaseHTTPRequestHandler):
    """Answers one request; the client is shared by all of them."""

    client: Client

    def do_POST(self) -> None:
        """Make a job: the body's fields are the arguments of `Client.compress`."""
        self._answer(self._create)

    def do_GET(self) -> None:
        """Describe a job, or deliver its network."""
        self._answer(self._show)

    def _create(self) -> None:
        if self.path != "/jobs":
            return self._send(HTTPStatus.NOT_FOUND, {"error": f"there is no {self.path}"})
        length = int(self.headers.get("Content-Length") or -1)
        if length < 0:
            status = HTTPStatus.LENGTH_REQUIRED
            return self._send(status, {"error": "Content-Length is missing or negative"})
        if length > _MOST_BYTES:
            status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            return self._send(status, {"error": f"at most {_MOST_BYTES} bytes are read"})
        arguments = json.loads(self.rfile.read(length))
        job = self.client.compress(**arguments)
        self._send(HTTPStatus.ACCEPTED, {"job": job.name})

    def _show(self) -> None:
        kind, _, rest = self.path.strip("/").partition("/")
        name, _, part = rest.partition("/")
        if kind != "jobs" or not name or part not in ("", "model"):
            return self._send(HTTPStatus.NOT_FOUND, {"error": f"there is no {self.path}"})
        job = self.client.job(name).status()
        if part == "":
            return self._send(HTTPStatus.OK, described(job))
        if job.result is None:
            return self._send(HTTPStatus.CONFLICT, {"error": f"{job.name} is {job.state}"})
        self._send_bytes(HTTPStatus.OK, job.result.model_bytes(), "application/octet-stream")

    def _answer(self, work: Any) -> None:
        try:
            work()
        except ArchpressError as error:
            status = next(status for kind, status in _STATUSES if isinstance(error, kind))
            self._send(status, {"error": error.message, "reason": error.reason})
        # The last one for JSON that is nested too deep.
        except (ValueError, TypeError, RecursionError) as error:
            self._send(HTTPStatus.BAD_REQUEST, {"error": str(error)})

    def _send(self, status: HTTPStatus, body: dict[str, Any]) -> None:
        self._send_bytes(status, json.dumps(body).encode(), "application/json")

    def _send_bytes(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def described(job: Job) -> dict[str, Any]:
    """Return what this service tells of a job."""
    record: dict[str, Any] = {"job": job.name, "state": job.state.value}
    if job.progress is not None:
        record["phase"] = job.progress.phase.value
        record["eta_seconds"] = job.progress.eta_seconds
    if job.error is not None:
        record["error"] = job.error.message
    if job.result is not None:
        record["accuracy"] = job.result.accuracy
        record["params"] = job.result.costs_after.params
    return record


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--server", default="localhost:50051", help="where archpress is")
    parser.add_argument("--port", type=int, default=8080, help="of this service; 0 is any")
    options = parser.parse_args()
    with Client(options.server, token=os.environ.get("ARCHPRESS_TOKEN")) as client:
        handler = type("BoundHandler", (Handler,), {"client": client})
        with ThreadingHTTPServer(("127.0.0.1", options.port), handler) as server:
            print(f"listening on http://127.0.0.1:{server.server_address[1]}", flush=True)
            server.serve_forever()


if __name__ == "__main__":
    main()
