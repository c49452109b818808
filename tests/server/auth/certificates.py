"""Certificates of an authority that tests make, as the PEM files that servers read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme


class Authority:
    """Issues certificates."""

    def __init__(self) -> None:
        self._ca = trustme.CA()

    @property
    def pem(self) -> bytes:
        return self._ca.cert_pem.bytes()

    def issue(self, name: str, *, days: float = 30.0, common_name: str = "") -> tuple[bytes, bytes]:
        """Return chain and key of a certificate that ends in so many days."""
        end = datetime.now(UTC) + timedelta(days=days)
        made = self._ca.issue_cert(
            name,
            common_name=common_name or None,
            not_before=end - timedelta(days=60),
            not_after=end,
        )
        chain = b"".join(blob.bytes() for blob in made.cert_chain_pems)
        return chain, made.private_key_pem.bytes()


class Files:
    """The files of a server: certificate, key and client authority."""

    def __init__(self, folder: Path) -> None:
        self.certificate = folder / "tls.crt"
        self.key = folder / "tls.key"
        self.ca = folder / "ca.crt"

    def write(self, pair: tuple[bytes, bytes], ca: bytes | None = None) -> None:
        # As tools for certificates do it: each file is replaced as a whole.
        contents = [(self.certificate, pair[0]), (self.key, pair[1])]
        for path, content in [*contents, *([] if ca is None else [(self.ca, ca)])]:
            new = path.with_suffix(".new")
            new.write_bytes(content)
            new.replace(path)
