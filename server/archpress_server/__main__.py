"""The archpress server: compresses networks over gRPC.

Flags of the server itself are listed by `archpress-server serve --help`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from archpress_server.admin import add_admin_commands, run_admin
from archpress_server.config import (
    ServerConfig,
    add_flags,
    explain,
    load_config,
    parse_flags,
    unknown_environment,
)
from archpress_server.print_config import describe, sources

if TYPE_CHECKING:
    from archpress_server.server import Server

EXIT_SETUP = 2
_LEAVE_SECONDS = 2.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand and return the exit code."""
    arguments = _parse(sys.argv[1:] if argv is None else list(argv))
    try:
        config = load_config(parse_flags(arguments), arguments.config)
    except ValueError as error:
        for line in explain(error):
            print(f"archpress-server: {line}", file=sys.stderr)
        return EXIT_SETUP
    if arguments.print_config:
        origins = sources(parse_flags(arguments), os.environ, arguments.config)
        print(describe(config, origins), end="")
        return 0
    if arguments.command in ("token", "jobs"):
        return run_admin(config, arguments)
    return _health(config) if arguments.command == "health" else _serve(config)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="archpress-server", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="run the server (the default)")
    health = commands.add_parser("health", help="exit with 0 if the server on host:port serves")
    for command in (serve, health):
        add_flags(command)
        command.add_argument("--print-config", action="store_true", help="show settings and exit")
    add_admin_commands(commands)
    if not argv or (argv[0].startswith("-") and argv[0] not in ("-h", "--help")):
        argv = ["serve", *argv]
    return parser.parse_args(argv)


def _health(config: ServerConfig) -> int:
    from archpress_server.service.health import check_health, check_ready

    if config.tls_certificate:
        # Whoever asks the API needs its authority, and with mTLS a certificate of its own.
        host = _reachable(config.metrics_host)
        return 0 if check_ready(f"http://{host}:{config.metrics_port}", timeout_seconds=3.0) else 1
    host = _reachable(config.host)
    return 0 if check_health(f"{host}:{config.port}", timeout_seconds=3.0) else 1


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "[::]") else host


def _serve(config: ServerConfig) -> int:
    import structlog

    from archpress_server.executors.executor import ExecutorError
    from archpress_server.jobs.errors import StoreSetupError
    from archpress_server.logs import configure_logs
    from archpress_server.state import prepare_state
    from archpress_server.traces import TracesError

    configure_logs(config.log_level, config.log_format)
    for name in unknown_environment(os.environ):
        structlog.get_logger().warning("a variable sets nothing", variable=name)
    try:
        prepare_state(config)
        # Late, since it imports torch: a wrong setting is told at once.
        from archpress_server.catalog import load_catalog

        catalog = load_catalog(config)
        from archpress_server.server import Server

        return asyncio.run(_run_and_leave(Server(config, catalog)))
    except (ExecutorError, StoreSetupError, TracesError, OSError, ValueError) as error:
        print(f"archpress-server: {error}", file=sys.stderr)
        return EXIT_SETUP


async def _run_and_leave(server: Server) -> int:
    code = await run_until_stopped(server)
    # All is done; threads that wait for a silent store would hold the process for minutes.
    last = threading.Timer(_LEAVE_SECONDS, os._exit, (code,))
    last.daemon = True
    last.start()
    return code


async def run_until_stopped(server: Server) -> int:
    """Serve until SIGTERM or SIGINT, drain, and return the exit code; a second one ends at once."""
    # A full collection would walk what torch brought, for 0.1 s, and block the event loop.
    gc.collect()
    gc.freeze()
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(1)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    await server.start()
    await stop.wait()
    await server.stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        # All is done: a late second signal must not turn a clean exit into a death by signal.
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)
    return 0


if __name__ == "__main__":
    sys.exit(main())
