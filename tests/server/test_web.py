"""The operator's port, over either version of IP."""

from __future__ import annotations

import socket
import urllib.request

import pytest
from prometheus_client import CollectorRegistry

from archpress_server.web import OperatorPort


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_probes_are_answered(host: str) -> None:
    if ":" in host and not _has_ipv6():
        pytest.skip("this machine has no IPv6")
    port = OperatorPort(host, 0, CollectorRegistry(), lambda: "", lambda: "")
    try:
        address = f"[{host}]" if ":" in host else host
        with urllib.request.urlopen(f"http://{address}:{port.port}/livez") as answer:
            assert (answer.status, answer.read()) == (200, b"OK\n")
    finally:
        port.close()
