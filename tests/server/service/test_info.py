"""What the server tells of itself."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from archpress_proto.v1 import info_service_pb2 as pb
from archpress_proto.v1.info_service_pb2_grpc import InfoServiceStub
from archpress_server.config import ServerConfig


@pytest.fixture
def config(config: ServerConfig, request: pytest.FixtureRequest) -> ServerConfig:
    limits = {"max_message_bytes": request.param, "max_artifact_bytes": 7 * 2**20}
    return config.model_copy(update={**limits, "max_run_time_seconds": 5_400.5, "workers": 0})


@pytest.mark.parametrize(
    ("config", "inline"), [(3_000_000, 1_048_576), (600_000, 600_000)], indirect=["config"]
)
async def test_every_limit_is_told(
    channel: grpc.aio.Channel, config: ServerConfig, inline: int
) -> None:
    info = await InfoServiceStub(channel).GetServerInfo(pb.GetServerInfoRequest())
    assert info.limits == pb.Limits(
        max_layers=512,
        max_channels=16_384,
        max_kernel=31,
        max_stride=16,
        max_padding=30,
        max_input_side=512,
        max_input_channels=64,
        max_classes=10_000,
        max_inline_bytes=inline,
        max_message_bytes=config.max_message_bytes,
        max_artifact_bytes=7_340_032,
        max_candidates=64,
        max_run_time=Duration(seconds=5_400, nanos=500_000_000),
        max_input_params=200_000_000,
        max_input_macs=50_000_000_000,
        max_input_activation_bytes=1_073_741_824,
    )
    assert len(info.limits.ListFields()) == len(pb.Limits.DESCRIPTOR.fields)
