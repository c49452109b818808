"""A server process with workers of `worker.py`; settings as JSON on standard input."""

from __future__ import annotations

import asyncio
import sys

from archpress_server.__main__ import run_until_stopped
from archpress_server.catalog import load_catalog
from archpress_server.config import ServerConfig
from archpress_server.logs import configure_logs
from archpress_server.server import Server
from archpress_server.state import prepare_state

WORKER_MODULE = "tests.chaos.worker"


def main() -> int:
    config = ServerConfig.model_validate_json(sys.stdin.read())
    configure_logs(config.log_level)
    prepare_state(config)
    command = (sys.executable, "-m", WORKER_MODULE)
    server = Server(config, load_catalog(config), worker_command=command, warm=False)
    return asyncio.run(run_until_stopped(server))


if __name__ == "__main__":
    sys.exit(main())
