"""What carries calls to a server: the interface that threads and asyncio each have one of."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from typing import ParamSpec, Protocol, TypeVar

import grpc

from archpress_client._config import Tls, is_loopback
from archpress_client._errors import ArchpressError, RequestTimeoutError, UnavailableError
from archpress_client._methods import Method, Q, R

STUCK_SECONDS = 1.0
"""How long after its deadline a call that gRPC did not end is given up."""

P = ParamSpec("P")
T = TypeVar("T")

Metadata = tuple[tuple[str, str], ...]

_OPTIONS = (
    # Else a new channel takes over the connection of the one that it replaces.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    # gRPC's own two minutes would leave a watcher waiting long after the server is back.
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)


class Wire(Protocol):
    """Carries calls, once each; raises gRPC's errors and the package's own.

    The methods of the one for threads never wait for an event loop, so that `_drive.run` brings
    them to their end.
    """

    async def unary(
        self, method: Method[Q, R], request: Q, timeout_seconds: float, metadata: Metadata
    ) -> R:
        """Return the answer to a message."""

    async def send(
        self,
        method: Method[Q, R],
        messages: Iterator[Q],
        timeout_seconds: float,
        metadata: Metadata,
    ) -> R:
        """Return the answer to a stream of messages."""

    def stream(
        self, method: Method[Q, R], request: Q, patience: Patience, metadata: Metadata
    ) -> AsyncGenerator[R, None]:
        """Yield the answers to a message."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""

    async def offload(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what a function returns that waits for a disk."""

    def check_open(self) -> None:
        """Raise `ClientClosedError` where the client was closed."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is and how to speak with it."""

    target: str
    tls: Tls | None = None
    insecure: bool = False

    @property
    def plain(self) -> bool:
        """Whether nothing is encrypted."""
        return self.tls is None and (self.insecure or is_loopback(self.target))

    def options(self) -> list[tuple[str, str | int]]:
        """Return the options of a channel."""
        options: list[tuple[str, str | int]] = list(_OPTIONS)
        if not self.plain and self.tls is not None and self.tls.server_name is not None:
            options.append(("grpc.ssl_target_name_override", self.tls.server_name))
        return options

    def credentials(self) -> grpc.ChannelCredentials:
        """Return the credentials of an encrypted channel."""
        tls = self.tls or Tls()
        return grpc.ssl_channel_credentials(
            root_certificates=tls.root_certificates,
            private_key=tls.private_key,
            certificate_chain=tls.certificate_chain,
        )


class Patience:
    """How long to wait for the next message of a stream: a silence at most, and to a deadline.

    gRPC's own deadline comes first; the margin is for a call that is stuck.
    """

    def __init__(self, silence_seconds: float, timeout_seconds: float | None = None) -> None:
        """Start the clock of the deadline."""
        self.silence_seconds = silence_seconds
        self.timeout_seconds = timeout_seconds
        self._deadline = math.inf if timeout_seconds is None else time.monotonic() + timeout_seconds

    def wait_seconds(self) -> float:
        """Return how long the next message may take from now."""
        left = self._deadline + STUCK_SECONDS - time.monotonic()
        return max(min(self.silence_seconds, left), 0.0)

    def error(self, target: str) -> ArchpressError:
        """Return the error of a message that did not come in time."""
        if self._deadline + STUCK_SECONDS <= time.monotonic():
            return RequestTimeoutError(f"no end in {self.timeout_seconds} seconds")
        return UnavailableError(f"nothing came from {target} for {self.silence_seconds:g} seconds")
