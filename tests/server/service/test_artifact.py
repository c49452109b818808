"""Downloads of files that are damaged, missing or out of reach."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from archpress_proto.v1 import artifact_service_pb2 as pb
from archpress_proto.v1.artifact_service_pb2_grpc import ArtifactServiceStub
from archpress_server.compress.types import Compression
from archpress_server.config import ServerConfig
from archpress_server.jobs.model import Submission
from archpress_server.server import Server


@pytest.fixture
def config(config: ServerConfig) -> ServerConfig:
    """Without workers: the test itself ends the job."""
    return config.model_copy(update={"workers": 0})


@pytest.fixture
def artifact(server: Server, submission: Submission, compression: Compression) -> str:
    """The name of a stored artifact."""
    leases = server.leases
    job = leases.store.create(submission).id
    leases.lease_next("w")
    record = leases.succeed(job, 1, compression)
    assert record is not None
    assert record.result is not None
    return record.result.artifact


def file_of(config: ServerConfig, content: bytes) -> Path:
    sha256 = hashlib.sha256(content).hexdigest()
    return config.state_dir / "artifacts" / sha256[:2] / sha256


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    os.truncate(path, 300_000)


def unmount(path: Path) -> None:
    path.parents[1].rename(path.parents[2] / "elsewhere")


def close(path: Path) -> None:
    """Make reading fail, for root too: a folder takes the file's place."""
    path.unlink()
    path.mkdir()


async def refusal(
    channel: grpc.aio.Channel, **request: Any
) -> tuple[int, grpc.StatusCode, error_details_pb2.ErrorInfo, bool]:
    """Return the bytes that came and how the download failed, whether with a time to retry."""
    received = 0

    async def download() -> None:
        nonlocal received
        async for part in ArtifactServiceStub(channel).DownloadArtifact(
            pb.DownloadArtifactRequest(**request)
        ):
            received += len(part.data)

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await download()
    trailers: Any = caught.value.trailing_metadata()
    status = status_pb2.Status.FromString(dict(trailers)["grpc-status-details-bin"])
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(info)
    may_retry = any(detail.Unpack(retry) for detail in status.details)
    return received, caught.value.code(), info, may_retry


@pytest.mark.parametrize(
    ("spoil", "code", "reason"),
    [
        (flip, grpc.StatusCode.DATA_LOSS, "ARTIFACT_CORRUPT"),
        (cut, grpc.StatusCode.DATA_LOSS, "ARTIFACT_CORRUPT"),
        (Path.unlink, grpc.StatusCode.DATA_LOSS, "ARTIFACT_CORRUPT"),
        (unmount, grpc.StatusCode.UNAVAILABLE, "STORAGE_UNAVAILABLE"),
        (close, grpc.StatusCode.UNAVAILABLE, "STORAGE_UNAVAILABLE"),
    ],
)
async def test_a_file_that_cannot_be_given_is_told_counted_and_logged(
    server: Server,
    channel: grpc.aio.Channel,
    config: ServerConfig,
    compression: Compression,
    artifact: str,
    spoil: Callable[[Path], None],
    code: grpc.StatusCode,
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(file_of(config, compression.model))
    received, answered, info, may_retry = await refusal(channel, name=f"artifacts/{artifact}")
    assert (answered, info.reason) == (code, reason)
    assert may_retry == (code is grpc.StatusCode.UNAVAILABLE)
    assert received < len(compression.model)
    logged = capsys.readouterr()
    assert info.metadata["error_id"] in logged.out + logged.err
    labels = {"reason": reason}
    assert server.metrics.registry.get_sample_value("archpress_rejected_total", labels) == 1


async def test_a_range_of_a_file_that_ends_too_early_is_damaged(
    channel: grpc.aio.Channel, config: ServerConfig, compression: Compression, artifact: str
) -> None:
    cut(file_of(config, compression.model))
    name = f"artifacts/{artifact}"
    for offset in (299_999, 300_000, 400_000):
        _, _, info, _ = await refusal(channel, name=name, read_offset=offset)
        assert info.reason == "ARTIFACT_CORRUPT"


async def test_a_store_that_comes_back_serves_again(
    channel: grpc.aio.Channel, config: ServerConfig, compression: Compression, artifact: str
) -> None:
    folder, elsewhere = config.state_dir / "artifacts", config.state_dir / "elsewhere"
    await asyncio.to_thread(folder.rename, elsewhere)
    name = f"artifacts/{artifact}"
    _, _, info, _ = await refusal(channel, name=name)
    assert info.reason == "STORAGE_UNAVAILABLE"
    await asyncio.to_thread(elsewhere.rename, folder)
    call = ArtifactServiceStub(channel).DownloadArtifact(pb.DownloadArtifactRequest(name=name))
    assert b"".join([part.data async for part in call]) == compression.model
