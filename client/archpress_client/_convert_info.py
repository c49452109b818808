"""What a server says of itself, in messages of the API."""

from __future__ import annotations

from archpress_client import _info
from archpress_client._convert_network import costs_from_proto, layer_kind
from archpress_client._message_fields import enum_field, seconds
from archpress_client._types import Method
from archpress_proto.v1 import info_service_pb2


def server_info_from_proto(message: info_service_pb2.ServerInfo) -> _info.ServerInfo:
    """Return the server's description in a message."""
    limits = message.limits
    return _info.ServerInfo(
        api_versions=tuple(message.api_versions),
        server_version=message.server_version,
        limits=_info.Limits(
            max_layers=limits.max_layers,
            max_channels=limits.max_channels,
            max_kernel=limits.max_kernel,
            max_stride=limits.max_stride,
            max_padding=limits.max_padding,
            max_input_side=limits.max_input_side,
            max_input_channels=limits.max_input_channels,
            max_classes=limits.max_classes,
            max_inline_bytes=limits.max_inline_bytes,
            max_message_bytes=limits.max_message_bytes,
            max_artifact_bytes=limits.max_artifact_bytes,
            max_candidates=limits.max_candidates,
            max_run_time_seconds=seconds(limits, "max_run_time"),
            max_input_params=limits.max_input_params,
            max_input_macs=limits.max_input_macs,
            max_input_activation_bytes=limits.max_input_activation_bytes,
        ),
        datasets=tuple(_dataset(dataset) for dataset in message.datasets),
        embeddings=tuple(_embedding(embedding) for embedding in message.embeddings),
        networks=tuple(
            _info.NetworkInfo(
                name=network.name, dataset=network.dataset, costs=costs_from_proto(network.costs)
            )
            for network in message.networks
        ),
        layer_kinds=tuple(layer_kind(kind) for kind in message.layer_kinds),
    )


def _dataset(message: info_service_pb2.DatasetInfo) -> _info.DatasetInfo:
    shape = message.input_shape
    return _info.DatasetInfo(
        name=message.name,
        input_shape=(shape.channels, shape.height, shape.width),
        classes=message.classes,
        train_images=message.train_images,
        validation_images=message.validation_images,
        test_images=message.test_images,
        fingerprint=message.fingerprint,
    )


def _embedding(message: info_service_pb2.EmbeddingInfo) -> _info.EmbeddingInfo:
    quality = None
    if message.HasField("quality"):
        quality = _info.EmbeddingQuality(
            accuracy_kendall_tau=message.quality.accuracy_kendall_tau,
            baseline_kendall_tau=message.quality.baseline_kendall_tau,
            exact_reconstruction=message.quality.exact_reconstruction,
            interval_coverage=message.quality.interval_coverage,
            mean_absolute_error=message.quality.mean_absolute_error,
            held_out_networks=message.quality.held_out_networks,
        )
    return _info.EmbeddingInfo(
        name=message.name,
        dataset=message.dataset,
        method=enum_field(Method, message.method, Method.UNKNOWN, unset=Method.DEFAULT),
        space_hash=message.space_hash,
        fidelity_images=message.fidelity.train_images,
        fidelity_epochs=message.fidelity.epochs,
        fidelity_seeds=message.fidelity.seeds,
        population_size=message.population_size,
        covers_joins=message.covers_joins,
        quality=quality,
    )
