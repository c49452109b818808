"""`ServerConfig`: every setting of the server, from flags, environment, a file and defaults."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from archpress_trainer.processes import usable_cores

ENVIRONMENT_PREFIX = "ARCHPRESS_"


class ServerConfig(BaseModel):
    """What an operator may set; a flag wins over the environment, that over the file."""

    # What is no number has no form in JSON, in which workers get their settings.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(
        default=50051, ge=0, le=65535, description="port of the API; 0 takes a free one"
    )
    tls_certificate: str = Field(
        default="", description="PEM file of the API's certificate chain; empty is clear text"
    )
    tls_key: str = Field(default="", description="PEM file of the certificate's key")
    tls_client_ca: str = Field(
        default="", description="PEM file of the authorities whose clients alone may connect"
    )
    auth: Literal["none", "token"] = Field(
        default="none", description="none: everybody may do everything; token: who has one"
    )
    tokens_file: str = Field(
        default="", description="file of the tokens; empty is tokens.json in state_dir"
    )
    allow_plaintext_tokens: bool = Field(
        default=False, description="take tokens without TLS on other addresses than loopback"
    )
    requests_per_second: float = Field(
        default=100.0,
        ge=0,
        description="requests of one principal, with auth = token; 0 is no limit",
    )
    request_burst: int = Field(default=1000, ge=1, description="requests at once after a silence")
    reflection: bool = Field(default=True, description="tell tools the API's methods, to everybody")
    metrics_host: str = Field(
        default="127.0.0.1", description="address of /metrics, /livez and /readyz"
    )
    metrics_port: int = Field(default=9464, ge=0, le=65535, description="their port; 0 is off")
    state_dir: Path = Field(
        default_factory=lambda: Path.home() / ".local" / "state" / "archpress",
        description="folder of the database and the artifacts, unless they have URLs",
    )
    database_url: str = Field(
        default="", description="URL of a postgresql or sqlite database; empty is in state_dir"
    )
    database_url_file: str = Field(
        default="", description="file that holds database_url, such as a mounted secret"
    )
    artifacts_url: str = Field(
        default="",
        description="URL of the artifacts' folder or bucket, such as s3://BUCKET/PREFIX; empty is "
        "in state_dir",
    )
    workers: int = Field(
        default=1, ge=0, le=256, description="jobs that run at one time; 0 runs none"
    )
    threads_per_worker: int = Field(
        default_factory=usable_cores, ge=1, le=1024, description="CPU threads of a job"
    )
    worker_memory_bytes: int = Field(
        default=0, ge=0, description="memory at which a job's processes are killed; 0 is no limit"
    )
    worker_nice: int = Field(
        default=0,
        ge=0,
        le=19,
        description="how far the workers' CPU priority is below the server's",
    )
    worker_gpus: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="CUDA devices, one for each worker that runs; empty leaves all to all",
    )
    executor: Literal["local", "ray"] = Field(
        default="local", description="where workers run: on this machine or on a Ray cluster"
    )
    ray_address: str = Field(
        default="", description="HOST:PORT of a Ray cluster, or auto; empty starts one here"
    )
    ray_gpus_per_worker: float = Field(
        default=0.0, ge=0, le=64, description="GPUs of a worker on Ray, or its share of one"
    )
    dataset_root: Path = Field(
        default_factory=lambda: Path.home() / ".cache" / "archpress" / "datasets",
        description="folder of the built-in data sets",
    )
    dataset_files: Annotated[Mapping[str, Path], NoDecode] = Field(
        default_factory=dict,
        description="data sets of your own, .npz files or folders: name=path, comma-separated",
    )
    datasets: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="data sets offered; empty is fashion-mnist and all that are set up"
    )
    download_datasets: bool = Field(
        default=True, description="download a built-in data set when needed"
    )
    embeddings_dir: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(), description="folders with embeddings beside the bundled ones, comma-separated"
    )
    lease_seconds: float = Field(
        default=30.0, gt=0, description="silence after which a worker is lost"
    )
    heartbeat_seconds: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="time between two signs of life, which bring cancellations too",
    )
    checkpoint_seconds: float = Field(
        default=30.0, ge=0, description="time between two checkpoints of a training; 0 makes none"
    )
    max_attempts: int = Field(
        default=2, ge=1, le=100, description="lost workers with which a job fails"
    )
    cancel_grace_seconds: float = Field(
        default=20.0, ge=0, description="time to stop before it is killed"
    )
    drain_grace_seconds: float = Field(
        default=20.0, ge=0, description="time to end calls at shutdown"
    )
    drain_delay_seconds: float = Field(
        default=0.0,
        ge=0,
        le=600,
        description="time between telling that it stops and stopping, for load balancers",
    )
    max_run_time_seconds: float = Field(default=86_400.0, ge=1, description="longest run of a job")
    max_message_bytes: int = Field(
        default=4 * 2**20,
        # Clients upload in chunks of 2**18 bytes.
        ge=2**19,
        le=2**30,
        description="largest request message",
    )
    max_artifact_bytes: int = Field(
        default=64 * 2**20, ge=1024, le=2**31, description="largest model that is uploaded"
    )
    max_upload_bytes_per_principal: int = Field(
        default=2**30, ge=0, description="room for uploaded models of one principal; 0 is no limit"
    )
    max_queued_jobs: int = Field(default=1000, ge=1, description="jobs that may wait")
    max_queued_jobs_per_principal: int = Field(
        default=0, ge=0, description="jobs of one principal that may wait; 0 sets no limit"
    )
    max_running_jobs_per_principal: int = Field(
        default=0, ge=0, description="jobs of one principal that run at one time; 0 sets no limit"
    )
    retention_seconds: float = Field(
        default=7 * 86_400.0, gt=0, description="time that a final job and its artifacts are kept"
    )
    result_cache: bool = Field(
        default=True, description="whether a job takes the result of an equal one of its principal"
    )
    poll_seconds: float = Field(
        default=0.1, gt=0, le=10, description="time between looks at the database"
    )
    traces_url: str = Field(
        default="", description="OTLP collector (gRPC), http://HOST:4317; empty makes no traces"
    )
    log_format: Literal["json", "text"] = Field(
        default="json", description="json: an object a line; text: for people"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least severity that is logged"
    )

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: str) -> str:
        if not value:
            return value
        try:
            url = sa.make_url(value)
        except (sa.exc.ArgumentError, ValueError):
            url = sa.URL.create("")
        file = url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:")
        # The value is not repeated: it may hold a password.
        if not file and url.get_backend_name() != "postgresql":
            raise ValueError(
                "must be postgresql://USER:PASSWORD@HOST:PORT/DATABASE or sqlite:///FILE"
            )
        return value

    @field_validator("artifacts_url")
    @classmethod
    def _artifacts(cls, value: str) -> str:
        if not value:
            return value
        protocol, separator, rest = value.partition("://")
        # The value is not repeated: it may hold a password.
        if not (protocol and separator and rest) or "::" in value:
            raise ValueError("must be file:///FOLDER, s3://BUCKET/PREFIX or another such URL")
        if "@" in rest.partition("/")[0]:
            raise ValueError("must hold no password: the driver's own environment does")
        if protocol == "memory":
            raise ValueError("cannot be memory://, which each worker process has its own of")
        return value

    @field_validator("traces_url")
    @classmethod
    def _collector(cls, value: str) -> str:
        known = value.startswith(("http://", "https://")) and urlsplit(value).hostname
        if value and not known:
            raise ValueError(f"is {value}, and must be http://HOST:PORT or https://HOST:PORT")
        return value

    @field_validator("datasets", "embeddings_dir", "worker_gpus", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [part for part in value.split(",") if part] if isinstance(value, str) else value

    @field_validator("dataset_files", mode="before")
    @classmethod
    def _pairs(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        pairs = [part.partition("=") for part in value.split(",") if part]
        wrong = [name for name, equals, path in pairs if not (name and equals and path)]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is not name=path")
        return {name: path for name, _, path in pairs}

    @model_validator(mode="after")
    def _check_executor(self) -> Self:
        if self.executor == "local" and (self.ray_address or self.ray_gpus_per_worker):
            raise ValueError("ray_address and ray_gpus_per_worker need executor = ray")
        if self.executor == "ray" and self.worker_gpus:
            raise ValueError("worker_gpus is for executor = local; Ray assigns GPUs itself")
        if self.worker_gpus and self.workers > len(self.worker_gpus):
            raise ValueError(
                f"workers is {self.workers}, and worker_gpus has {len(self.worker_gpus)}: "
                "each worker needs one; name a GPU twice to share it"
            )
        return self

    @model_validator(mode="after")
    def _check_lease(self) -> Self:
        if self.lease_seconds < 2 * self.heartbeat_seconds:
            raise ValueError(
                f"lease_seconds is {self.lease_seconds:g}, and must be twice the time between two "
                f"signs of life, which is {self.heartbeat_seconds:g} s (heartbeat_seconds), or more"
            )
        return self

    @field_validator("state_dir")
    @classmethod
    def _state(cls, value: Path) -> Path:
        # In the URLs of database and artifacts they mean something else: the state would lie there.
        if any(mark in str(value.absolute()) for mark in ("?", "%", "::")):
            raise ValueError(f"is {value}, whose path must hold none of ?, % and ::")
        return value

    @property
    def url(self) -> str:
        """URL of the database in use."""
        return self.database_url or f"sqlite:///{self.state_dir.absolute() / 'archpress.db'}"

    @property
    def tokens_path(self) -> Path:
        """File of the tokens."""
        return Path(self.tokens_file) if self.tokens_file else self.state_dir / "tokens.json"

    @property
    def files_url(self) -> str:
        """URL of the artifacts in use."""
        return self.artifacts_url or f"file://{self.state_dir.absolute() / 'artifacts'}"


class _Settings(ServerConfig, BaseSettings):
    """`ServerConfig` with its sources; `config` names the file."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, extra="forbid", frozen=True, cli_parse_args=False
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: flags, environment, file."""
        assert isinstance(init_settings, InitSettingsSource)
        file = init_settings.init_kwargs.pop("config", None)
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, file)


def load_config(flags: Mapping[str, str] | None = None, file: Path | None = None) -> ServerConfig:
    """Return the settings from all sources.

    Raises:
        ValueError: a value is wrong, or the file holds an unknown key or cannot be read.
    """
    given: dict[str, Any] = {**(flags or {}), "config": file}
    try:
        if file is not None and not file.is_file():
            raise ValueError(f"{file}: there is no such file")
        values = _Settings(**given).model_dump()
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror or error}") from None
    if values["database_url_file"]:
        values["database_url"] = _read_url(values["database_url_file"], values["database_url"])
    return ServerConfig.model_validate(values)


def _read_url(file: str, given: str) -> str:
    if given:
        raise ValueError("database_url and database_url_file contradict: set one of the two")
    try:
        url = Path(file).read_text().strip()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ValueError(f"database_url_file {file} cannot be read: {reason}") from None
    if not url:
        raise ValueError(f"database_url_file {file} is empty")
    return url


def unknown_environment(environment: Mapping[str, str]) -> list[str]:
    """Return the variables with the prefix that set nothing.

    They are no errors: the client's variables and Kubernetes' service links share the prefix.
    """
    known = {ENVIRONMENT_PREFIX + name.upper() for name in ServerConfig.model_fields}
    own = (name for name in environment if name.upper().startswith(ENVIRONMENT_PREFIX))
    return sorted(name for name in own if name.upper() not in known)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add `--config` and a flag for every setting."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file with settings")
    for name, field in ServerConfig.model_fields.items():
        default = field.get_default(call_default_factory=True, validated_data={})
        shown = "" if default in ("", (), {}) else f" (default {default})"
        parser.add_argument(
            "--" + name.replace("_", "-"),
            metavar="VALUE",
            default=argparse.SUPPRESS,
            help=f"{field.description}{shown}".replace("%", "%%"),
        )


def parse_flags(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the flags that were given, by the setting's name."""
    return {k: v for k, v in vars(arguments).items() if k in ServerConfig.model_fields}


def explain(error: ValueError) -> Sequence[str]:
    """Return one line per wrong setting."""
    details = getattr(error, "errors", None)
    if details is None:
        return [str(error)]
    return [": ".join([*_place(e["loc"]), e["msg"]]) for e in details()]


def _place(keys: Sequence[object]) -> Sequence[str]:
    """Return the setting's name; of an error that several settings make, nothing."""
    return [".".join(map(str, keys))] if keys else []
