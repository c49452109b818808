"""The methods that the client calls are those of the contract."""

from __future__ import annotations

import pytest

from archpress_client import _methods
from archpress_client._methods import Method
from archpress_proto.v1 import artifact_service_pb2, compression_service_pb2, info_service_pb2

METHODS = {name: value for name, value in vars(_methods).items() if isinstance(value, Method)}
FILES = (compression_service_pb2, artifact_service_pb2, info_service_pb2)
CONTRACT = {
    f"/{service.full_name}/{method.name}": method
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


@pytest.mark.parametrize("name", METHODS)
def test_paths_and_messages_are_the_contracts(name: str) -> None:
    method = METHODS[name]
    there = CONTRACT[method.path]
    assert there.input_type is method.request.DESCRIPTOR
    assert there.output_type is method.response.DESCRIPTOR
