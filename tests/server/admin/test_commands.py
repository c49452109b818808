"""The operator's commands, through the command line."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from archpress_server.__main__ import main
from archpress_server.auth.token_file import read_tokens
from archpress_server.config import ServerConfig
from archpress_server.jobs.leases import Leases
from archpress_server.jobs.model import State, Submission, new_id


@pytest.fixture
def flags(config: ServerConfig) -> list[str]:
    return ["--state-dir", str(config.state_dir)]


def made(flags: list[str], capsys: pytest.CaptureFixture[str], *more: str) -> tuple[str, str]:
    """Return a new token and its id."""
    assert main(["token", "create", "--principal", "ci", *more, *flags]) == 0
    captured = capsys.readouterr()
    return captured.out.strip(), captured.err[:12]


def test_a_token_is_made_listed_and_revoked(
    config: ServerConfig, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    token, identifier = made(flags, capsys, "--expires-days", "2")
    found = read_tokens(config.tokens_path).by_token(token)
    assert found is not None
    assert (found.id, found.principal, sorted(found.scopes)) == (
        identifier,
        "ci",
        ["compress", "read"],
    )
    assert found.caller(datetime.now(UTC)).principal == "ci"
    second, _ = made(flags, capsys, "--scopes", "admin", "--expires-days", "0")
    assert main(["token", "list", *flags]) == 0
    shown = capsys.readouterr().out
    assert token not in shown
    assert second not in shown
    head, first, last = shown.splitlines()
    assert head.split() == ["id", "principal", "scopes", "shown", "by", "state"]
    assert first.split()[:5] == [identifier, "ci", "compress,read", "token", "valid"]
    assert last.endswith("valid for ever")
    assert main(["token", "revoke", identifier, *flags]) == 0
    found = read_tokens(config.tokens_path).by_token(token)
    assert found is not None
    assert found.revoke_time is not None
    assert main(["token", "list", *flags]) == 0
    assert f"revoked {datetime.now(UTC):%Y-}" in capsys.readouterr().out


def test_a_certificate_may_stand_for_a_token(
    config: ServerConfig, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    token, identifier = made(flags, capsys, "--certificate", "robot.example")
    assert token == ""
    found = read_tokens(config.tokens_path).by_names(["robot.example"])
    assert found is not None
    again = ["token", "create", "--principal", "b", "--certificate", "robot.example", *flags]
    assert main(again) == 2
    assert f"{identifier} has this name, revoke it first" in capsys.readouterr().err
    assert main(["token", "revoke", identifier, *flags]) == 0
    assert main(again) == 0
    found = read_tokens(config.tokens_path).by_names(["robot.example"])
    assert found is not None
    assert found.principal == "b"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["token", "create", "--principal", "a b"], "principal: "),
        (["token", "create", "--principal", "a", "--scopes", "root"], "scopes.0: "),
        (["token", "create", "--principal", "a", "--scopes", ","], "scopes: "),
        (
            ["token", "create", "--principal", "a", "--expires-days", "-1"],
            "expires-days: is -1, must be 0 to 36500",
        ),
        (["token", "list"], "tokens.json: No such file"),
        (["token", "revoke", "0" * 12], "tokens.json: No such file"),
    ],
)
def test_wrong_arguments_are_one_clear_line(
    flags: list[str], arguments: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert part in line


def test_an_unknown_token_is_told(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    made(flags, capsys)
    assert main(["token", "revoke", "nonsense", *flags]) == 2
    assert "there is no token 'nonsense'" in capsys.readouterr().err


def test_many_commands_at_once_lose_no_token(config: ServerConfig, flags: list[str]) -> None:
    command = [sys.executable, "-m", "archpress_server", "token", "create", "--principal", "p"]
    running = [subprocess.Popen([*command, *flags], stdout=subprocess.DEVNULL) for _ in range(4)]
    assert [process.wait(60) for process in running] == [0] * 4
    assert len(read_tokens(config.tokens_path).items) == 4


def test_jobs_are_listed_and_cancelled(
    leases: Leases, submission: Submission, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = [leases.store.create(submission) for _ in range(3)]
    leases.lease_next("w")
    assert main(["jobs", "list", *flags]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [job.id for job in reversed(jobs)]
    assert lines[-1].split()[1:4] == ["running", "-", "fashion-mnist"]
    assert main(["jobs", "list", "--state", "queued", "--limit", "1", *flags]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main(["jobs", "list", "--principal", "nobody", *flags]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert main(["jobs", "cancel", f"jobs/{jobs[0].id}", *flags]) == 0
    assert main(["jobs", "cancel", jobs[1].id, *flags]) == 0
    assert capsys.readouterr().out.split() == ["cancelling", "cancelled"]
    assert leases.store.get(jobs[1].id).state is State.CANCELLED
    unknown = new_id()
    assert main(["jobs", "cancel", unknown, *flags]) == 2
    assert f"there is no job '{unknown}'" in capsys.readouterr().err


def test_jobs_of_no_state_are_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "list", "--state-dir", str(tmp_path / "none")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("archpress-server: ")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_jobs_of_a_database_without_tables_are_an_error(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["jobs", "list", "--database-url", database_url]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "the database is not that of a server that has run" in line
