"""How a client connects, waits and tries again."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

_LOOPBACK_V4 = re.compile(r"127(\.\d{1,3}){3}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeouts:
    """How long the client waits; none of these ends a job."""

    request_seconds: float = 30.0
    """For one answer of the server."""

    plan_seconds: float = 120.0
    """For the candidates of a plan, and for a report."""

    upload_seconds: float = 1200.0
    """For the whole of an upload; a server takes 64 MiB for some 1,050 seconds at most."""

    heartbeat_seconds: float = 15.0
    """Silence after which a watched server gives a sign of life, 5 to 60."""

    download_silence_seconds: float = 60.0
    """Silence after which a download is taken for broken and resumed."""

    @property
    def watch_silence_seconds(self) -> float:
        """Silence after which a watched connection counts as dead: three heartbeats."""
        return 3 * min(max(self.heartbeat_seconds, 5.0), 60.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """When and how often the client tries again after a fault of the connection."""

    initial_seconds: float = 0.2
    """Mean wait before the first repetition; it doubles with each further one."""

    max_seconds: float = 15.0
    """Longest mean wait."""

    request_attempts: int = 4
    """Attempts of one request, the first included."""

    stream_attempts: int = 20
    """Connections in a row that may break without any event or byte."""

    def delay_seconds(self, failures: int, random: Random, at_least: float | None = None) -> float:
        """Return the wait after `failures` faults in a row: half to one and a half of the mean."""
        mean = min(self.initial_seconds * 2.0 ** min(failures - 1, 30), self.max_seconds)
        return max(mean * random.uniform(0.5, 1.5), at_least or 0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tls:
    """Certificates, as PEM; empty means the roots that gRPC brings along."""

    root_certificates: bytes | None = None
    """Whom to trust."""

    certificate_chain: bytes | None = None
    """The client's own certificate, for servers that ask for one."""

    private_key: bytes | None = field(default=None, repr=False)
    """The key of the client's own certificate."""

    server_name: str | None = None
    """Name to expect in the server's certificate, where it is not the target's host."""

    @classmethod
    def from_files(
        cls,
        *,
        root: str | Path | None = None,
        certificate: str | Path | None = None,
        key: str | Path | None = None,
        server_name: str | None = None,
    ) -> Tls:
        """Read the certificates from PEM files."""
        contents = [
            None if path is None else Path(path).read_bytes() for path in (root, certificate, key)
        ]
        return cls(
            root_certificates=contents[0],
            certificate_chain=contents[1],
            private_key=contents[2],
            server_name=server_name,
        )


def is_loopback(target: str) -> bool:
    """Return whether a gRPC target stays on this machine."""
    scheme, separator, rest = target.partition(":")
    if separator and scheme in {"unix", "unix-abstract"}:
        return True
    if separator and scheme in {"dns", "ipv4", "ipv6"}:
        target = rest.rsplit("/", 1)[-1]
    if target.startswith("["):
        host = target[1:].partition("]")[0]
    else:
        host = target.rpartition(":")[0] or target
    return host in {"localhost", "::1"} or _LOOPBACK_V4.fullmatch(host) is not None
