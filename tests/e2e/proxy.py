"""A TCP proxy that breaks connections as networks do."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from socket import SO_LINGER, SOL_SOCKET

from tests.client.driven import LoopThread


@dataclass(frozen=True)
class Fault:
    """What happens to one connection after so many bytes from the server."""

    after_bytes: int

    async def strike(self, writer: asyncio.StreamWriter) -> None:
        """Do it to the client's side."""
        raise NotImplementedError


class Cut(Fault):
    """Reset it, in the middle of whatever message is on its way."""

    async def strike(self, writer: asyncio.StreamWriter) -> None:
        """Close without a farewell."""
        socket = writer.get_extra_info("socket")
        socket.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()


class Truncate(Fault):
    """End it as if the server had closed it."""

    async def strike(self, writer: asyncio.StreamWriter) -> None:
        """Close after what was sent."""
        writer.close()


class Stall(Fault):
    """Let nothing through any more, and say nothing."""

    async def strike(self, writer: asyncio.StreamWriter) -> None:
        """Hang."""
        await asyncio.sleep(3600)


class Delay(Fault):
    """Hold everything up for a moment, once."""

    async def strike(self, writer: asyncio.StreamWriter) -> None:
        """Wait, for less than the clients' patience."""
        await asyncio.sleep(0.05)


class FaultyProxy:
    """Passes connections on to a server; each takes the next fault, while there are any.

    One that outlives its fault takes another.
    """

    def __init__(self, target: str, thread: LoopThread) -> None:
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self._thread = thread
        self._faults: list[Fault] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.struck = 0
        self._server: asyncio.Server = thread.run(asyncio.start_server(self._serve, "127.0.0.1", 0))

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def left(self) -> int:
        """How many faults wait for a connection."""
        return len(self._faults)

    def plan(self, faults: Iterable[Fault]) -> None:
        """Say what happens to the next connections."""
        self._faults = list(faults)
        self.struck = 0

    def close(self) -> None:
        self._thread.run(self._close())

    async def _close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        fault = self._next_fault()
        far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
        there = asyncio.create_task(_pump(reader, far_writer))
        try:
            # Cancelled when the proxy closes.
            with contextlib.suppress(asyncio.CancelledError):
                await self._back(far_reader, writer, fault)
        finally:
            there.cancel()
            for side in (writer, far_writer):
                side.close()

    def _next_fault(self) -> Fault | None:
        return self._faults.pop(0) if self._faults else None

    async def _back(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault | None
    ) -> None:
        passed = 0
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(4096):
                while fault is not None and passed + len(data) > fault.after_bytes:
                    head = max(fault.after_bytes - passed, 0)
                    writer.write(data[:head])
                    await writer.drain()
                    self.struck += 1
                    await fault.strike(writer)
                    if writer.is_closing():
                        return
                    data, fault, passed = data[head:], self._next_fault(), passed + head
                passed += len(data)
                writer.write(data)
                await writer.drain()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
