"""A real server in a thread, for tests that make their calls from outside its event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

from archpress_server.catalog import load_catalog
from archpress_server.config import ServerConfig
from archpress_server.server import Server
from archpress_server.state import prepare_state


class RunningServer:
    """Starts with its construction; `stop` ends it."""

    def __init__(self, config: ServerConfig) -> None:
        prepare_state(config)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.server = self._run(self._started(config))

    def stop(self) -> None:
        self._run(self.server.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    def series(self) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
        """Return the names and labels of all metric series."""
        return {
            (sample.name, tuple(sorted(sample.labels.items())))
            for metric in self.server.metrics.registry.collect()
            for sample in metric.samples
        }

    async def _started(self, config: ServerConfig) -> Server:
        server = Server(config, load_catalog(config), warm=False)
        await server.start()
        return server

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(120)
