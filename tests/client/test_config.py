"""Waits, secrets and which targets need TLS."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archpress_client import Retry, Timeouts, Tls
from archpress_client._config import is_loopback


@given(st.integers(1, 10_000), st.integers(0, 2**32))
def test_delays_grow_and_stay_bounded(failures: int, seed: int) -> None:
    retry = Retry()
    delay = retry.delay_seconds(failures, Random(seed))
    mean = min(0.2 * 2.0 ** min(failures - 1, 100), 15.0)
    assert 0.5 * mean <= delay <= 1.5 * mean


def test_a_hint_of_the_server_is_kept() -> None:
    assert Retry().delay_seconds(1, Random(0), 7.0) == 7.0
    assert Retry().delay_seconds(1, Random(0), 0.0) > 0.0


@pytest.mark.parametrize(("heartbeat", "silence"), [(15.0, 45.0), (1.0, 15.0), (600.0, 180.0)])
def test_silence_is_three_heartbeats(heartbeat: float, silence: float) -> None:
    assert Timeouts(heartbeat_seconds=heartbeat).watch_silence_seconds == silence


def test_keys_are_not_shown(tmp_path: Path) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_bytes(name.encode())
    tls = Tls.from_files(root=tmp_path / "ca", certificate=tmp_path / "cert", key=tmp_path / "key")
    assert (tls.root_certificates, tls.private_key) == (b"ca", b"key")
    assert "private_key" not in repr(tls)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("localhost:50051", True),
        ("localhost", True),
        ("127.0.0.1:50051", True),
        ("127.8.8.8:1", True),
        ("[::1]:50051", True),
        ("ipv4:127.0.0.1:50051", True),
        ("ipv6:[::1]:50051", True),
        ("dns:///localhost:50051", True),
        ("unix:/run/archpress.sock", True),
        ("unix:///run/archpress.sock", True),
        ("example.org:50051", False),
        ("localhost.example.org:50051", False),
        ("dns:///example.org:50051", False),
        ("10.0.0.1:50051", False),
        ("127.example.org:443", False),
        ("[2001:db8::1]:50051", False),
    ],
)
def test_loopback(target: str, expected: bool) -> None:
    assert is_loopback(target) is expected
