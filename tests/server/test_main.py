"""What the command does around the server."""

from __future__ import annotations

import gc
import os
import signal
from typing import Any

import pytest

from archpress_server import __main__ as command


async def test_what_was_imported_is_kept_from_the_collector(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A full collection of it takes longer than the event loop may be blocked."""
    frozen: list[int] = []

    class Recorder:
        async def start(self) -> None:
            frozen.append(gc.get_freeze_count())
            os.kill(os.getpid(), signal.SIGTERM)

        async def stop(self) -> None:
            pass

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    server: Any = Recorder()
    try:
        assert await command.run_until_stopped(server) == 0
    finally:
        gc.unfreeze()
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert frozen[0] > 10_000
