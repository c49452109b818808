"""What a client is still sending when its call is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

_SECONDS = 1.0


async def read_on(messages: AsyncIterator[Any]) -> None:
    """Read and forget a client's messages for a moment, so that the refusal reaches it.

    A client of `grpc.aio` whose write fails as the call ends forgets the status that came
    meanwhile, and reports an internal error (grpc issue 36066).
    """
    with suppress(Exception):
        async with asyncio.timeout(_SECONDS):
            async for _ in messages:
                pass
