"""Tokens stay out of logs and files of a real server."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from archpress_client import AuthenticationError, Client, NotFoundError, Retry, Tls
from tests.ports import free_port
from tests.server.auth.certificates import Authority, Files
from tests.server.service.principals import Principals

COMMAND = [sys.executable, "-m", "archpress_server"]


@pytest.mark.slow
def test_no_token_is_logged_or_stored(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    principals, authority, files = Principals(state / "tokens.json"), Authority(), Files(tmp_path)
    files.write(authority.issue("localhost"))
    port, metrics_port = str(free_port()), str(free_port())
    flags = ["--port", port, "--metrics-port", metrics_port, "--state-dir", str(state)]
    flags += ["--tls-certificate", str(files.certificate), "--tls-key", str(files.key)]
    serve = [*COMMAND, *flags, "--auth", "token", "--workers", "0", "--log-level", "debug"]
    bad = "ap_" + "Z" * 43
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(serve, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_until_healthy([*COMMAND, "health", *flags])
        for token in (principals.tokens["admin"], bad):
            with Client(
                f"localhost:{port}",
                tls=Tls(root_certificates=authority.pem),
                token=token,
                retry=Retry(request_attempts=1),
            ) as client:
                if token == bad:
                    with pytest.raises(AuthenticationError):
                        client.info()
                else:
                    client.info()
                    with pytest.raises(NotFoundError):
                        client.job("jobs/odd").status()
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    text = log.read_text()
    assert '"reason": "TOKEN_INVALID"' in text
    written = [text.encode(), *(path.read_bytes() for path in state.rglob("*") if path.is_file())]
    for secret in (*principals.tokens.values(), bad):
        # Nor a part of one.
        assert not any(secret[3:20].encode() in content for content in written)
    assert "bearer" not in text.lower()
    assert "authorization" not in text.lower()


def wait_until_healthy(command: list[str]) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if subprocess.run(command, check=False).returncode == 0:
            return
        time.sleep(0.2)
    raise AssertionError("the server did not come up")
