"""One call of a server has a mean and no spread, and a server that is away is named."""

from __future__ import annotations

import pytest
from service import main, summary

from tests.ports import free_port


def test_one_call_has_no_spread() -> None:
    found = summary([0.1], 0.05)
    assert (found["n"], found["mean_seconds"], found["stdev_seconds"]) == (1, 0.1, None)
    assert summary([0.1, 0.1], 0.05)["stdev_seconds"] == 0.0


def test_a_server_that_is_away_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = f"127.0.0.1:{free_port()}"
    monkeypatch.setattr("sys.argv", ["service.py", "--target", target])
    with pytest.raises(SystemExit):
        main()
    assert f"error: {target}: " in capsys.readouterr().err
