"""Each gRPC code and each reason becomes one error of the package."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from archpress_client import (
    ArchpressError,
    AuthenticationError,
    ConflictError,
    DownloadError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    QuotaExceededError,
    RequestTimeoutError,
    ServerError,
    UnavailableError,
    UnsupportedError,
)
from archpress_client._rpc_errors import error_from_rpc, mapped_errors, may_repeat
from tests.client.told_jobs import error_status


class FakeRpcError(grpc.RpcError):
    def __init__(self, code: grpc.StatusCode, details: str = "", trailer: bytes = b"") -> None:
        self._code, self._details, self._trailer = code, details, trailer

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> Any:
        return (("x", "y"), ("grpc-status-details-bin", self._trailer))


KINDS = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequestError,
    grpc.StatusCode.FAILED_PRECONDITION: UnsupportedError,
    grpc.StatusCode.UNIMPLEMENTED: UnsupportedError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: ConflictError,
    grpc.StatusCode.UNAUTHENTICATED: AuthenticationError,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDeniedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: QuotaExceededError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.CANCELLED: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: RequestTimeoutError,
    grpc.StatusCode.DATA_LOSS: DownloadError,
}


@pytest.mark.parametrize("code", list(grpc.StatusCode))
def test_every_code_has_a_kind(code: grpc.StatusCode) -> None:
    error = error_from_rpc(FakeRpcError(code))
    assert type(error) is KINDS.get(code, ServerError)
    assert error.message


def test_details_are_read() -> None:
    code = grpc.StatusCode.INVALID_ARGUMENT
    status = error_status(
        code,
        "too small",
        "BUDGET_INFEASIBLE",
        {"max_params": "1234"},
        [("spec.budget.max_params", "is 10"), ("spec.budget.max_macs", "is 20")],
        Duration(seconds=2, nanos=500_000_000),
    )
    error = error_from_rpc(FakeRpcError(code, "too small", status.SerializeToString()))
    assert isinstance(error, InvalidRequestError)
    assert (error.reason, dict(error.metadata)) == ("BUDGET_INFEASIBLE", {"max_params": "1234"})
    assert [fault.field for fault in error.violations] == [
        "spec.budget.max_params",
        "spec.budget.max_macs",
    ]
    assert error.retry_after_seconds == 2.5
    assert str(error) == "too small"


def test_a_message_above_a_limit_is_the_callers_fault() -> None:
    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    trailer = error_status(code, "big", "LIMIT_EXCEEDED").SerializeToString()
    assert isinstance(error_from_rpc(FakeRpcError(code, "big", trailer)), InvalidRequestError)


def test_broken_details_do_no_harm() -> None:
    error = error_from_rpc(FakeRpcError(grpc.StatusCode.NOT_FOUND, "gone", b"\xff\xff"))
    assert (type(error), error.message, error.reason) == (NotFoundError, "gone", "")


def test_builtin_bases() -> None:
    assert issubclass(UnavailableError, ConnectionError)
    assert issubclass(RequestTimeoutError, TimeoutError)
    assert issubclass(InvalidRequestError, ValueError)


@pytest.mark.parametrize(
    ("code", "reason", "fault"),
    [
        (grpc.StatusCode.UNAVAILABLE, "DRAINING", True),
        (grpc.StatusCode.UNAVAILABLE, "", True),
        (grpc.StatusCode.CANCELLED, "CANCELLED", True),
        (grpc.StatusCode.INTERNAL, "", True),
        (grpc.StatusCode.UNKNOWN, "", True),
        (grpc.StatusCode.INTERNAL, "INTERNAL", False),
        (grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND", False),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "", False),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", False),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "", False),
    ],
)
def test_what_is_worth_another_try(code: grpc.StatusCode, reason: str, fault: bool) -> None:
    trailer = error_status(code, "x", reason).SerializeToString() if reason else b""
    assert may_repeat(error_from_rpc(FakeRpcError(code, "x", trailer))) is fault


def test_who_calls_too_often_is_told_when_to_come_again() -> None:
    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    for reason, worth in (("RATE_LIMITED", True), ("", False)):
        status = error_status(code, "too often", reason, retry_after=Duration(seconds=1))
        error = error_from_rpc(FakeRpcError(code, "too often", status.SerializeToString()))
        assert may_repeat(error) is worth


def test_the_cause_is_kept() -> None:
    with pytest.raises(ArchpressError) as caught, mapped_errors():
        raise FakeRpcError(grpc.StatusCode.INTERNAL)
    assert isinstance(caught.value.__cause__, grpc.RpcError)
