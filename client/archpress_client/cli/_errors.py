"""From errors to one line for people, an object for scripts, and an exit code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from archpress_client._errors import (
    ArchpressError,
    AuthenticationError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    QuotaExceededError,
    RequestTimeoutError,
    UnavailableError,
    UnsupportedError,
)
from archpress_client._job_errors import JobError, JobFailedError
from archpress_client.cli._json import to_plain

FAILED, REFUSED, UNREACHABLE, INTERRUPTED = 1, 2, 3, 130

_REFUSALS = (
    AuthenticationError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    QuotaExceededError,
    UnsupportedError,
)


@contextmanager
def reported(server: str, as_json: bool) -> Iterator[None]:
    """Turn every error inside into a message and an exit code; no traceback gets out."""
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except typer.BadParameter as error:
        if not as_json:
            raise
        _report(error, [error.format_message()], as_json)
        raise typer.Exit(REFUSED) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except ArchpressError as error:
        _report(error, _lines(error, server), as_json)
        raise typer.Exit(_code(error)) from None
    except OSError as error:
        _report(error, [str(error)], as_json)
        raise typer.Exit(FAILED) from None
    except Exception as error:
        _report(error, [f"a fault of this program: {type(error).__name__}: {error}"], as_json)
        raise typer.Exit(FAILED) from None


def _code(error: ArchpressError) -> int:
    if isinstance(error, UnavailableError | RequestTimeoutError):
        return UNREACHABLE
    return REFUSED if isinstance(error, _REFUSALS) else FAILED


def _lines(error: ArchpressError, server: str) -> list[str]:
    if isinstance(error, UnavailableError) and not error.reason:
        return [
            f"no archpress server answers at {server} (start one with: archpress-server; "
            f"name another with --server or ARCHPRESS_SERVER): {error.message}"
        ]
    lines = [error.message]
    if isinstance(error, InvalidRequestError) and len(error.violations) > 1:
        lines = [f"the request has {len(error.violations)} faults"]
        lines += [f"  {fault.field}: {fault.description}" for fault in error.violations]
    # What could be met instead, or which names are known.
    lines += [
        f"  {'nearest ' if error.reason == 'BUDGET_INFEASIBLE' else ''}{key}: {value}"
        for key, value in sorted(error.metadata.items())
        if key != "name" and value not in error.message
    ]
    if isinstance(error, AuthenticationError):
        lines.append(
            "  the token is read from ARCHPRESS_TOKEN; make one on the server: "
            "archpress-server token create --principal NAME"
        )
    if isinstance(error, JobFailedError) and error.result is not None:
        best = error.result
        lines += [
            f"  the best network that was found has {best.costs_after.params:,} parameters and "
            f"accuracy {100 * best.accuracy:.2f}%",
            f"  get it: archpress download {error.job.name} --out best.onnx",
        ]
    return lines


def _report(error: Exception, lines: list[str], as_json: bool) -> None:
    if not as_json:
        typer.echo("\n".join(["error: " + lines[0], *lines[1:]]), err=True)
        return
    record: dict[str, object] = {"kind": type(error).__name__, "message": lines[0]}
    if isinstance(error, ArchpressError):
        record |= {"reason": error.reason, "metadata": dict(error.metadata)}
    if isinstance(error, InvalidRequestError):
        record["violations"] = to_plain(error.violations)
    answer: dict[str, object] = {"error": record}
    if isinstance(error, JobError):
        answer["job"] = to_plain(error.job)
    typer.echo(json.dumps(answer))
