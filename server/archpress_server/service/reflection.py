"""Reflection: the API's descriptors for tools, to everybody."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from grpc_health.v1 import health  # type: ignore[import-untyped]
from grpc_reflection.v1alpha import (  # type: ignore[import-untyped]
    reflection,
    reflection_pb2,
)

from archpress_server.service.interceptors import SERVICES

_NAMES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


def add_reflection(server: grpc.aio.Server) -> None:
    """Add reflection under both its names, whose messages are the same on the wire."""
    names: Sequence[str] = (
        *(service.full_name for service in SERVICES),
        health.SERVICE_NAME,
        *_NAMES,
    )
    handler = grpc.stream_stream_rpc_method_handler(
        reflection.aio.ReflectionServicer(names).ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for name in _NAMES:
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler}),)
        )
