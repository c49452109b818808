"""The operator's port: /metrics, /livez and /readyz over plain HTTP."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _ServerOfVersion6(_Server):
    address_family = socket.AF_INET6


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: probes come every few seconds."""


class OperatorPort:
    """A small HTTP server in a thread."""

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        alive: Callable[[], str],
        ready: Callable[[], str],
    ) -> None:
        """Listen at once; `port` 0 takes a free one. Probes return what is wrong, if anything is.

        Raises:
            OSError: the port is taken.
        """
        metrics = make_wsgi_app(registry)
        probes = {"/livez": alive, "/readyz": ready}

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            path = environ.get("PATH_INFO", "")
            if path == "/metrics":
                page: Iterable[bytes] = metrics(environ, start_response)
                return page
            probe = probes.get(path)
            status, text = "404 Not Found", "Not Found"
            if probe is not None:
                fault = probe()
                status = "503 Service Unavailable" if fault else "200 OK"
                text = fault or "OK"
            start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
            return [f"{text}\n".encode()]

        server = _ServerOfVersion6 if ":" in host else _Server
        try:
            self._server = make_server(host, port, app, server_class=server, handler_class=_Quiet)
        except OSError as error:
            raise OSError(
                f"cannot listen on {host}:{port} for metrics: {error.strerror}"
            ) from error
        self.port = self._server.server_port
        """The port in use."""
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
