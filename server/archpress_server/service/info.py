"""`InfoService`: what this server is and offers."""

from __future__ import annotations

from collections.abc import Mapping

from archpress_proto.v1 import architecture_pb2 as arch_pb
from archpress_proto.v1 import info_service_pb2 as pb
from archpress_proto.v1 import jobs_pb2
from archpress_proto.v1.info_service_pb2_grpc import InfoServiceServicer
from archpress_server import __version__
from archpress_server.catalog import Catalog
from archpress_server.compress.checks import (
    MAX_INPUT_ACTIVATION_BYTES,
    MAX_INPUT_MACS,
    MAX_INPUT_PARAMS,
)
from archpress_server.config import ServerConfig
from archpress_server.planner import DatasetFacts
from archpress_server.service.convert_network import costs_to_proto, input_shape_to_proto
from archpress_server.service.handlers import Context
from archpress_server.service.parse import MAX_CANDIDATES
from archpress_server.service.parse_model import MAX_INLINE_BYTES
from archpress_server.service.times import duration
from archpress_trainer.embedding.manifest import Manifest
from archpress_trainer.space.costs import count
from archpress_trainer.space.errors import ArchitectureError
from archpress_trainer.space.named import NAMED, named
from archpress_trainer.space.vocab import LayerKind, Limits

API_VERSIONS = ("archpress.v1",)


class InfoServicer(InfoServiceServicer):
    """Answers from what is known at the start, and from data sets as they were looked at."""

    def __init__(self, config: ServerConfig, catalog: Catalog) -> None:
        """Describe a server with these settings and this catalog."""
        self._catalog = catalog
        self._facts: dict[str, DatasetFacts] = {}
        self._fixed = pb.ServerInfo(
            api_versions=API_VERSIONS,
            server_version=__version__,
            limits=_limits(config),
            embeddings=[_embedding(offered.manifest) for offered in catalog.embeddings],
            networks=_networks(catalog),
            layer_kinds=[arch_pb.LayerKind.Value(f"LAYER_KIND_{kind.name}") for kind in LayerKind],
        )

    def add_facts(self, dataset: str, facts: DatasetFacts) -> None:
        """Take over what a data set holds."""
        self._facts[dataset] = facts

    async def GetServerInfo(
        self, request: pb.GetServerInfoRequest, context: Context
    ) -> pb.ServerInfo:
        """Describe the server."""
        info = pb.ServerInfo()
        info.CopyFrom(self._fixed)
        info.datasets.extend(
            _dataset(name, self._catalog, self._facts) for name in self._catalog.datasets
        )
        return info


def _limits(config: ServerConfig) -> pb.Limits:
    return pb.Limits(
        max_layers=Limits.LAYERS,
        max_channels=Limits.CHANNELS,
        max_kernel=Limits.KERNEL,
        max_stride=Limits.STRIDE,
        max_padding=Limits.PADDING,
        max_input_side=Limits.INPUT_SIDE,
        max_input_channels=Limits.INPUT_CHANNELS,
        max_classes=Limits.CLASSES,
        max_inline_bytes=min(MAX_INLINE_BYTES, config.max_message_bytes),
        max_message_bytes=config.max_message_bytes,
        max_artifact_bytes=config.max_artifact_bytes,
        max_candidates=MAX_CANDIDATES,
        max_run_time=duration(config.max_run_time_seconds),
        max_input_params=MAX_INPUT_PARAMS,
        max_input_macs=MAX_INPUT_MACS,
        max_input_activation_bytes=MAX_INPUT_ACTIVATION_BYTES,
    )


def _dataset(name: str, catalog: Catalog, facts: Mapping[str, DatasetFacts]) -> pb.DatasetInfo:
    """Describe a data set; one that was not looked at yet is known from its embedding only."""
    info = pb.DatasetInfo(name=name)
    shape = catalog.shape_of(name)
    known = facts.get(name)
    if known is not None:
        shape = known.input_shape, known.classes
        info.train_images = known.train_images
        info.validation_images = known.validation_images
        info.test_images = known.test_images
        info.fingerprint = known.fingerprint
    if shape is not None:
        info.input_shape.CopyFrom(input_shape_to_proto(shape[0]))
        info.classes = shape[1]
    return info


def _embedding(manifest: Manifest) -> pb.EmbeddingInfo:
    info = pb.EmbeddingInfo(
        name=manifest.name,
        dataset=manifest.dataset,
        method=jobs_pb2.Method.Value(f"METHOD_{manifest.method.upper()}"),
        space_hash=manifest.space_digest,
        fidelity=pb.Fidelity(
            train_images=manifest.fidelity.train_images,
            epochs=manifest.fidelity.epochs,
            seeds=manifest.fidelity.seeds,
        ),
        population_size=manifest.population_size,
        covers_joins=manifest.space.has_joins,
    )
    metrics = dict(manifest.metrics)
    names = [field.name for field in pb.EmbeddingQuality.DESCRIPTOR.fields]
    if any(name in metrics for name in names):
        held_out = int(metrics.pop("held_out_networks", 0))
        numbers = {name: metrics[name] for name in names if name in metrics}
        info.quality.CopyFrom(pb.EmbeddingQuality(held_out_networks=held_out, **numbers))
    return info


def _networks(catalog: Catalog) -> list[pb.NetworkInfo]:
    found = []
    for dataset in catalog.datasets:
        shape = catalog.shape_of(dataset)
        if shape is None:
            continue
        for name in NAMED:
            try:
                costs = count(named(name, *shape))
            except ArchitectureError:
                continue
            found.append(pb.NetworkInfo(name=name, dataset=dataset, costs=costs_to_proto(costs)))
    return found
