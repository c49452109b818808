"""What a server is and offers."""

from __future__ import annotations

from dataclasses import dataclass

from archpress_client._network import LayerKind
from archpress_client._types import Costs, Method


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Largest values that the server accepts."""

    max_layers: int
    max_channels: int
    max_kernel: int
    max_stride: int
    max_padding: int
    max_input_side: int
    max_input_channels: int
    max_classes: int
    max_inline_bytes: int
    max_message_bytes: int
    max_artifact_bytes: int
    max_candidates: int
    max_run_time_seconds: float | None
    max_input_params: int
    """Of the network to compress, as the two that follow; 0 for servers that do not say."""
    max_input_macs: int
    max_input_activation_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetInfo:
    """A data set that the server holds."""

    name: str
    input_shape: tuple[int, int, int]
    """Channels, height, width."""
    classes: int
    train_images: int
    """0, as the other numbers, until the server has looked at the data."""
    validation_images: int
    test_images: int
    fingerprint: str


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddingQuality:
    """How far to trust an embedding, measured on networks held out of its population."""

    accuracy_kendall_tau: float
    baseline_kendall_tau: float
    exact_reconstruction: float
    interval_coverage: float
    mean_absolute_error: float
    held_out_networks: int


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddingInfo:
    """An embedding that the server has loaded."""

    name: str
    dataset: str
    method: Method
    space_hash: str
    fidelity_images: int
    fidelity_epochs: int
    fidelity_seeds: int
    population_size: int
    covers_joins: bool
    """Whether it serves networks with skips, concatenations and depthwise convolutions."""
    quality: EmbeddingQuality | None


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkInfo:
    """A network that may be named in a request."""

    name: str
    dataset: str
    costs: Costs


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerInfo:
    """Versions, limits, data sets, embeddings and networks of a server."""

    api_versions: tuple[str, ...]
    server_version: str
    limits: Limits
    datasets: tuple[DatasetInfo, ...]
    embeddings: tuple[EmbeddingInfo, ...]
    networks: tuple[NetworkInfo, ...]
    layer_kinds: tuple[LayerKind, ...]
