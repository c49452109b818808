"""The settings in force, and where each came from."""

from __future__ import annotations

from pathlib import Path

import pytest

from archpress_server.__main__ import main
from archpress_server.config import ServerConfig, load_config
from archpress_server.print_config import describe, sources


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ServerConfig.model_fields:
        monkeypatch.delenv(f"ARCHPRESS_{name.upper()}", raising=False)


def test_the_shown_settings_hide_passwords_and_read_back(tmp_path: Path) -> None:
    config = ServerConfig(
        database_url="postgresql://u:secret@host/db", dataset_files={"a": Path("/x.npz")}
    )
    text = describe(config, sources({}, {}, None))
    assert "secret" not in text
    file = tmp_path / "server.toml"
    file.write_text(text)
    again = load_config({}, file)
    assert again == config.model_copy(update={"database_url": "postgresql://u:***@host/db"})


def test_each_value_says_where_it_came_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "server.toml"
    file.write_text("port = 1\nworkers = 2\nmax_attempts = 3\n")
    monkeypatch.setenv("ARCHPRESS_PORT", "10")
    monkeypatch.setenv("archpress_workers", "20")
    assert main(["--port", "100", "--config", str(file), "--print-config"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for line in (
        "port = 100  # flag",
        "workers = 20  # environment ARCHPRESS_WORKERS",
        f"max_attempts = 3  # file {file}",
        "lease_seconds = 30.0  # default",
    ):
        assert line in lines
    assert len(lines) == len(ServerConfig.model_fields)


def test_a_database_from_a_file_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "database_url"
    file.write_text("postgresql://a:b@db/archpress")
    assert main(["--database-url-file", str(file), "--print-config"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f'database_url = "postgresql://a:***@db/archpress"  # file {file}' in lines
