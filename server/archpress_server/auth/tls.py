"""Certificates of the API's port: read, checked, and replaced under the running server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from archpress_server.auth.reloaded import Reloaded


class CertificateError(ValueError):
    """A certificate, key or authority cannot be used; the message says which file and why."""


@dataclass(frozen=True)
class TlsFiles:
    """Where the PEM files are; with a client authority only its certificates may connect."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files."""
        ca = () if self.client_ca is None else (self.client_ca,)
        return (self.certificate, self.key, *ca)


@dataclass(frozen=True)
class Certificates:
    """What the files hold, and when the server's own certificate ends."""

    chain: bytes
    key: bytes
    client_ca: bytes | None
    end: datetime

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        """Return it as gRPC takes it."""
        return grpc.ssl_server_certificate_configuration(
            [(self.key, self.chain)], root_certificates=self.client_ca
        )


def read_certificates(files: TlsFiles) -> Certificates:
    """Return the certificates of files that fit together and are valid today.

    Raises:
        CertificateError: they do not, or are not.
    """
    chain, key = _read(files.certificate), _read(files.key)
    own = _parse(files.certificate, chain)[0]
    _check_dates(files.certificate, own)
    try:
        public = load_pem_private_key(key, None).public_key()
    except UnsupportedAlgorithm as error:
        raise CertificateError(f"{files.key}: {error}") from error
    # TypeError is that of a key with a password.
    except (ValueError, TypeError) as error:
        raise CertificateError(f"{files.key}: no private key without a password in PEM") from error
    try:
        certified = own.public_key()
    except UnsupportedAlgorithm as error:
        raise CertificateError(f"{files.certificate}: {error}") from error
    if _encoded(public) != _encoded(certified):
        raise CertificateError(f"{files.key}: is not the key of {files.certificate}")
    client_ca = None
    if files.client_ca is not None:
        client_ca = _read(files.client_ca)
        for authority in _parse(files.client_ca, client_ca):
            _check_dates(files.client_ca, authority)
    return Certificates(chain, key, client_ca, own.not_valid_after_utc)


def server_credentials(certificates: Reloaded[Certificates]) -> grpc.ServerCredentials:
    """Return credentials whose new connections see the newest certificates."""
    offered = certificates.value

    def newest() -> grpc.ServerCertificateConfiguration | None:
        # Called by gRPC's own threads at each handshake; None keeps what it has.
        nonlocal offered
        if certificates.value is offered:
            return None
        offered = certificates.value
        return offered.configuration()

    fetch: Callable[[], grpc.ServerCertificateConfiguration] = newest  # type: ignore[assignment]
    return grpc.dynamic_ssl_server_credentials(
        offered.configuration(),
        fetch,
        require_client_authentication=offered.client_ca is not None,
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(f"{path}: {error.strerror}") from error


def _parse(path: Path, content: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise CertificateError(f"{path}: no certificate in PEM") from error


def _check_dates(path: Path, certificate: x509.Certificate) -> None:
    now = datetime.now(UTC)
    if certificate.not_valid_after_utc < now:
        raise CertificateError(f"{path}: has expired on {certificate.not_valid_after_utc:%Y-%m-%d}")
    if certificate.not_valid_before_utc > now:
        start = certificate.not_valid_before_utc
        raise CertificateError(f"{path}: is not valid before {start:%Y-%m-%d %H:%M} UTC")


def _encoded(key: object) -> bytes:
    encoded: bytes = key.public_bytes(  # type: ignore[attr-defined]
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    return encoded
