"""Standard services beside the API: health and reflection."""

from __future__ import annotations

import urllib.request
from collections.abc import Sequence
from typing import Any

import grpc
from grpc_health.v1 import (  # type: ignore[import-untyped]
    health,
    health_pb2,
    health_pb2_grpc,
)
from grpc_reflection.v1alpha import (  # type: ignore[import-untyped]
    reflection,
    reflection_pb2,
)

from archpress_server.service.interceptors import SERVICES

_REFLECTION = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


def add_health(server: grpc.aio.Server) -> Any:
    """Add the health service and return its servicer."""
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    return servicer


async def set_serving(servicer: Any) -> None:
    """Report the process and every service of the API as serving."""
    for name in ("", *(service.full_name for service in SERVICES)):
        await servicer.set(name, health_pb2.HealthCheckResponse.SERVING)


def add_reflection(server: grpc.aio.Server) -> None:
    """Add reflection under both its names, whose messages are the same on the wire."""
    names: Sequence[str] = (
        *(service.full_name for service in SERVICES),
        health.SERVICE_NAME,
        *_REFLECTION,
    )
    handler = grpc.stream_stream_rpc_method_handler(
        reflection.aio.ReflectionServicer(names).ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for name in _REFLECTION:
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler}),)
        )


def check_health(target: str, timeout_seconds: float) -> bool:
    """Return whether the server at a target says that it serves."""
    with grpc.insecure_channel(target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(
                health_pb2.HealthCheckRequest(), timeout=timeout_seconds, wait_for_ready=False
            )
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def check_ready(url: str, timeout_seconds: float) -> bool:
    """Return whether the operator's port at a URL says that the server is ready."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=timeout_seconds) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
