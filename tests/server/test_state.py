"""State that can be used, and state that cannot."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import sqlalchemy as sa

from archpress_server.__main__ import main
from archpress_server.config import ServerConfig
from archpress_server.jobs.database import Database
from archpress_server.jobs.errors import DatabaseUnavailableError, StoreSetupError
from archpress_server.jobs.leases import Leases
from archpress_server.state import prepare_state


def test_preparing_twice_is_fine_and_leaves_no_probe(config: ServerConfig) -> None:
    prepare_state(config)
    prepare_state(config)
    assert not list(config.state_dir.rglob(".probe*"))


def test_a_path_that_cannot_be_a_folder_ends_the_server_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "state"
    assert main(["--state-dir", str(folder), "--port", "0"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(folder) in line
    assert "cannot be written" in line


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_noticed_by_writing(
    config: ServerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 7)
    config.state_dir.mkdir()
    (config.state_dir / ".probe-7").symlink_to("/dev/full")
    with pytest.raises(StoreSetupError, match="No space left"):
        prepare_state(config)


def test_a_file_that_is_no_database_is_refused(config: ServerConfig) -> None:
    config.state_dir.mkdir()
    (config.state_dir / "archpress.db").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreSetupError, match="cannot be used"):
        prepare_state(config)


def test_a_locked_database_is_unavailable(config: ServerConfig, leases: Leases) -> None:
    impatient = Database(config.url, busy_timeout_seconds=0.05)
    with leases.store.database.write() as connection:
        connection.execute(sa.text("SELECT 1"))
        with pytest.raises(DatabaseUnavailableError), impatient.write():
            pass
        with impatient.read() as reader:
            assert reader.scalar(sa.text("SELECT 1")) == 1
    impatient.close()


def test_the_probe_is_written_for_real(
    config: ServerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    prepare_state(config)
    # The state folder's probe, the artifacts' mark and its folder.
    assert len(synced) == 3
