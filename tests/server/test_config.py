"""Where settings come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from archpress_server.__main__ import main
from archpress_server.config import (
    ServerConfig,
    explain,
    load_config,
    unknown_environment,
)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ServerConfig.model_fields:
        monkeypatch.delenv(f"ARCHPRESS_{name.upper()}", raising=False)


def test_a_flag_beats_the_environment_and_that_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "server.toml"
    file.write_text("port = 1\nworkers = 2\nmax_attempts = 3\n")
    monkeypatch.setenv("ARCHPRESS_PORT", "10")
    monkeypatch.setenv("ARCHPRESS_WORKERS", "20")
    config = load_config({"port": "100"}, file)
    assert (config.port, config.workers, config.max_attempts) == (100, 20, 3)
    assert config.lease_seconds == 30.0


def test_lists_and_pairs_come_as_text_or_as_toml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "server.toml"
    file.write_text('embeddings_dir = ["/a", "/b"]\n[dataset_files]\nmine = "/m.npz"\n')
    config = load_config({}, file)
    assert config.embeddings_dir == (Path("/a"), Path("/b"))
    assert config.dataset_files == {"mine": Path("/m.npz")}
    monkeypatch.setenv("ARCHPRESS_DATASET_FILES", "a=/x.npz,b=/y.npz")
    assert load_config({"worker_gpus": "0,1"}).worker_gpus == ("0", "1")
    assert load_config({"embeddings_dir": "/c"}).dataset_files == {
        "a": Path("/x.npz"),
        "b": Path("/y.npz"),
    }


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("prot = 1", "prot"),
        ("port = 70000", "port"),
        ('log_level = "loud"', "log_level"),
        ("port = ", "Invalid value"),
        ('dataset_files = "x"', "dataset_files"),
        ('ray_address = "auto"', "ray_address"),
        ('executor = "ray"\nworker_gpus = ["0"]', "worker_gpus"),
        ('workers = 2\nworker_gpus = ["0"]', "workers is 2, and worker_gpus has 1"),
        ("retention_seconds = inf", "retention_seconds"),
        ("lease_seconds = 1.5", "lease_seconds is 1.5, and must be twice"),
        ("heartbeat_seconds = 1.5", "heartbeat_seconds"),
        # Less than a client's chunk of an upload.
        ("max_message_bytes = 262144", "max_message_bytes"),
    ],
)
def test_a_wrong_file_is_one_clear_line(
    tmp_path: Path, text: str, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "server.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=part):
        load_config({}, file)
    assert main(["--config", str(file)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert part in lines[0]


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file") as caught:
        load_config({}, tmp_path / "no.toml")
    assert len(explain(caught.value)) == 1


def test_a_file_that_cannot_be_read_is_an_error() -> None:
    # The system refuses to read the first page of a process's memory, to root too.
    with pytest.raises(ValueError, match=r"/proc/self/mem cannot be read: Input/output error"):
        load_config({}, Path("/proc/self/mem"))


def test_the_database_may_stand_in_a_file_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "database_url"
    secret.write_text("postgresql://a:b@db/archpress\n")
    monkeypatch.setenv("ARCHPRESS_DATABASE_URL_FILE", str(secret))
    config = load_config()
    assert config.url == "postgresql://a:b@db/archpress"
    assert ServerConfig.model_validate_json(config.model_dump_json()) == config
    with pytest.raises(ValueError, match="set one of the two"):
        load_config({"database_url": "sqlite:///a.db"})
    secret.write_text("mysql://a:secret@db/archpress")
    with pytest.raises(ValueError, match="database_url") as caught:
        load_config()
    assert "secret" not in "".join(explain(caught.value))
    secret.write_text("\n")
    with pytest.raises(ValueError, match="is empty"):
        load_config()
    secret.unlink()
    with pytest.raises(ValueError, match="No such file"):
        load_config()


def test_variables_that_set_nothing_are_told() -> None:
    environment = {"ARCHPRESS_PORT": "1", "ARCHPRESS_PROT": "1", "HOME": "/"}
    assert unknown_environment(environment) == ["ARCHPRESS_PROT"]
    # They set something in any case, and are mistyped in any case.
    assert unknown_environment({"ARCHPRESS_log_level": "debug"}) == []
    assert unknown_environment({"archpress_prot": "1"}) == ["archpress_prot"]


def test_short_leases_go_with_shorter_signs_of_life() -> None:
    assert load_config({"lease_seconds": "1", "heartbeat_seconds": "0.5"}).lease_seconds == 1


@pytest.mark.parametrize(
    "url",
    ["/srv/files", "s3://", "s3://key:secret@bucket/a", "simplecache::s3://b/a", "memory://a"],
)
def test_a_wrong_place_for_artifacts_is_refused_without_its_password(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--artifacts-url", url]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "artifacts_url: " in line
    assert "secret" not in line


@pytest.mark.parametrize("url", ["collector:4317", "grpc://collector:4317", "http://", "https:a"])
def test_a_collector_is_named_by_a_url(url: str) -> None:
    with pytest.raises(ValueError, match="traces_url") as caught:
        load_config({"traces_url": url})
    (line,) = explain(caught.value)
    assert line.endswith(f"is {url}, and must be http://HOST:PORT or https://HOST:PORT")


def test_a_collector_may_be_in_clear_text_or_not() -> None:
    for url in ("", "http://collector:4317", "https://collector.example"):
        assert load_config({"traces_url": url}).traces_url == url


@pytest.mark.parametrize("folder", ["a?b", "a%20b", "a::b"])
def test_a_state_folder_that_urls_would_misread_is_refused(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--state-dir", str(tmp_path / folder)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert folder in line
    assert "state_dir" in line
    assert list(tmp_path.iterdir()) == []


def test_artifacts_are_in_the_state_folder_unless_told_otherwise() -> None:
    assert ServerConfig(state_dir=Path("/s")).files_url == "file:///s/artifacts"
    assert ServerConfig(artifacts_url="s3://b/a").files_url == "s3://b/a"


@pytest.mark.parametrize(
    "url", ["mysql://me:secret@host/x", "sqlite://", "sqlite:///:memory:", "secret", "postgresql:"]
)
def test_a_database_of_another_kind_is_refused_without_its_password(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--database-url", url]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "database_url: " in line
    assert "postgresql://" in line
    assert "secret" not in line
