"""What a log line shows, and what it keeps to itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog

from archpress_server.logs import configure_logs, log_unexpected


@pytest.fixture(autouse=True)
def _reset() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_shows_no_values(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    def connect(password: str) -> None:
        raise ConnectionError(f"refused after {len(password)} letters")

    configure_logs("info", form)
    secret = "".join(("hunt", "er2"))
    try:
        connect(secret)
    except ConnectionError as error:
        name = log_unexpected("the job store cannot be reached", error)
    told = capsys.readouterr().err
    assert name in told
    assert "refused after 7 letters" in told
    assert "in connect" in told
    assert secret not in told
