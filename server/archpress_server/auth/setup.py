"""What the settings say about callers and certificates, checked and put together."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from archpress_server.auth.authenticator import Authenticator
from archpress_server.auth.credentials import Credentials
from archpress_server.auth.limits import RateLimiter
from archpress_server.auth.reloaded import Reloaded
from archpress_server.auth.tls import Certificates, TlsFiles, read_certificates
from archpress_server.auth.token_file import TokenFileError, read_tokens
from archpress_server.config import ServerConfig


@dataclass(frozen=True)
class Security:
    """A server's credentials and certificates, in force until `refresh` finds newer ones."""

    authenticator: Authenticator
    limiter: RateLimiter
    credentials: Reloaded[Credentials] | None
    certificates: Reloaded[Certificates] | None

    def refresh(self) -> None:
        """Take over what changed in the files."""
        for reloaded in (self.credentials, self.certificates):
            if reloaded is not None:
                reloaded.refresh()


def open_security(config: ServerConfig, tell: Callable[[str, bool], None]) -> Security:
    """Return the security of a server; `tell` hears of changed files as in `Reloaded`.

    Raises:
        ValueError: settings that contradict each other or are too dangerous, or wrong files.
    """
    files = _tls_files(config)
    _check_exposure(config, encrypted=files is not None)
    certificates = credentials = None
    if files is not None:
        certificates = Reloaded("certificates", files.paths, lambda: read_certificates(files), tell)
    if config.auth == "token":
        credentials = _open_tokens(config.tokens_path, tell)
    rate = config.requests_per_second if credentials is not None else 0.0
    return Security(
        Authenticator(credentials),
        RateLimiter(rate, config.request_burst),
        credentials,
        certificates,
    )


def is_loopback(host: str) -> bool:
    """Return whether nobody but this machine can connect to a host."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _tls_files(config: ServerConfig) -> TlsFiles | None:
    if bool(config.tls_certificate) != bool(config.tls_key):
        given, missing = (
            ("tls_certificate", "tls_key")
            if config.tls_certificate
            else ("tls_key", "tls_certificate")
        )
        raise ValueError(f"{missing}: must be given with {given}")
    if not config.tls_certificate:
        if config.tls_client_ca:
            raise ValueError("tls_client_ca: needs tls_certificate and tls_key")
        return None
    ca = Path(config.tls_client_ca) if config.tls_client_ca else None
    return TlsFiles(Path(config.tls_certificate), Path(config.tls_key), ca)


def _check_exposure(config: ServerConfig, *, encrypted: bool) -> None:
    if is_loopback(config.host):
        return
    if config.auth == "none":
        structlog.get_logger().warning(
            "whoever reaches this address may use the server and sees all jobs: set auth=token",
            host=config.host,
        )
    elif not encrypted and not config.allow_plaintext_tokens:
        raise ValueError(
            f"auth: tokens would pass in clear text on {config.host}; set tls_certificate and "
            "tls_key, or allow_plaintext_tokens=true where something else encrypts"
        )


def _open_tokens(path: Path, tell: Callable[[str, bool], None]) -> Reloaded[Credentials]:
    try:
        return Reloaded("tokens", [path], lambda: read_tokens(path), tell)
    except TokenFileError as error:
        if path.exists():
            raise
        raise TokenFileError(
            f"{error}; make a token first: archpress-server token create --principal NAME"
        ) from error
