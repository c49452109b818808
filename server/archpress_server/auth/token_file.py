"""The tokens file: written by commands, read by servers, replaced as a whole."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from archpress_server.auth.credentials import Credential, Credentials
from archpress_trainer.whole_file import whole_file


class TokenFileError(ValueError):
    """The tokens file cannot be read or written; the message says where and why."""


class _Content(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    credentials: list[Credential]


def read_tokens(path: Path) -> Credentials:
    """Return the credentials of a file.

    Raises:
        TokenFileError: the file is missing or wrong.
    """
    try:
        content = _Content.model_validate_json(path.read_bytes())
    except OSError as error:
        raise TokenFileError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        # Without its cause, which quotes the file.
        raise TokenFileError(f"{path}: {place or 'the file'}: {first['msg']}") from None
    for name in ("id", "sha256", "certificate"):
        values = Counter(getattr(item, name) for item in content.credentials)
        twice = [value for value, times in values.items() if value and times > 1]
        if twice:
            raise TokenFileError(f"{path}: two credentials have the {name} {twice[0]}")
    return Credentials(content.credentials)


def write_tokens(path: Path, credentials: Credentials) -> None:
    """Replace a file; readers see the old content or the new.

    Raises:
        TokenFileError: it cannot be written.
    """
    text = _Content(credentials=list(credentials.items)).model_dump_json(indent=2) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path, prefix=".tokens-", mode=0o600) as file:
            file.write(text.encode())
            if path.exists():
                _keep_access(path, file.fileno())
    except OSError as error:
        raise TokenFileError(f"{path}: {error.strerror}") from error


@contextlib.contextmanager
def tokens_locked(path: Path) -> Iterator[None]:
    """Keep other commands from changing the file meanwhile; servers only read it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path.with_name(f"{path.name}.lock"), os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise TokenFileError(f"{path}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _keep_access(old: Path, descriptor: int) -> None:
    """Give a new file the old one's mode and group, so that a server may still read it."""
    found = old.stat()
    os.fchmod(descriptor, found.st_mode & 0o777)
    with contextlib.suppress(PermissionError):
        os.fchown(descriptor, found.st_uid, found.st_gid)
