"""The real worker process with the real compression, on a tiny data set."""

from __future__ import annotations

import hashlib
from pathlib import Path

import grpc
import onnx
import pytest

from archpress_proto.v1 import artifact_service_pb2 as artifact_pb
from archpress_proto.v1 import compression_service_pb2 as service_pb
from archpress_proto.v1 import info_service_pb2 as info_pb
from archpress_proto.v1 import jobs_pb2 as pb
from archpress_proto.v1.artifact_service_pb2_grpc import ArtifactServiceStub
from archpress_proto.v1.compression_service_pb2_grpc import CompressionServiceStub
from archpress_proto.v1.info_service_pb2_grpc import InfoServiceStub
from archpress_server.catalog import load_catalog
from archpress_server.config import ServerConfig
from archpress_server.server import Server
from archpress_server.service.convert_network import architecture_to_proto
from archpress_server.state import prepare_state
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layers import batch_norm, conv, global_average_pool, linear, relu


@pytest.mark.slow
async def test_a_network_is_planned_compressed_and_delivered(
    config: ServerConfig, tiny_embedding: Path, tiny_dataset: Path
) -> None:
    config = config.model_copy(
        update={"embeddings_dir": (tiny_embedding,), "dataset_files": {"tiny": tiny_dataset}}
    )
    prepare_state(config)
    server = Server(config, load_catalog(config))
    await server.start()
    layers = (
        *(conv(48, 3), batch_norm(), relu()),
        *(conv(48, 3), batch_norm(), relu()),
        *(global_average_pool(), linear(4)),
    )
    architecture = architecture_to_proto(Architecture((1, 12, 12), 4, layers))
    budget = pb.Budget(max_params=5_000)
    spec = pb.JobSpec(architecture=architecture, dataset="tiny", budget=budget)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            stub = CompressionServiceStub(channel)
            plan = await stub.Plan(service_pb.PlanRequest(spec=spec, max_candidates=3))
            assert 1 <= len(plan.candidates) <= 3
            assert all(candidate.costs.params <= 5_000 for candidate in plan.candidates)

            call = stub.Compress(service_pb.CompressRequest(spec=spec), timeout=200)
            events = [event async for event in call]
            job = events[-1].completed
            assert job.state == pb.JOB_STATE_SUCCEEDED, job.error
            phases = [event.progress.phase for event in events if event.HasField("progress")]
            assert phases == sorted(phases)
            assert job.result.costs_after.params <= 5_000

            request = artifact_pb.DownloadArtifactRequest(name=job.result.artifact)
            parts = [p async for p in ArtifactServiceStub(channel).DownloadArtifact(request)]
            model = b"".join(part.data for part in parts[1:])
            assert hashlib.sha256(model).hexdigest() == job.result.certificate.sha256
            onnx.checker.check_model(onnx.load_from_string(model))

            info = await InfoServiceStub(channel).GetServerInfo(info_pb.GetServerInfoRequest())
            facts = {dataset.name: dataset for dataset in info.datasets}["tiny"]
            assert (facts.train_images, facts.validation_images, facts.test_images) == (
                880,
                80,
                200,
            )
    finally:
        await server.stop()
