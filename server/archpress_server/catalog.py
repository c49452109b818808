"""`Catalog`: the data sets and embeddings that this server offers, known from manifests alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from archpress_server.config import ServerConfig
from archpress_trainer.data.registry import DataSources
from archpress_trainer.embedding.bundled import bundled_folders
from archpress_trainer.embedding.manifest import Manifest, read_manifest
from archpress_trainer.space.graph import Architecture

DEFAULT_DATASETS = ("fashion-mnist",)


@dataclass(frozen=True)
class OfferedEmbedding:
    """An embedding that jobs may use, and where it lies."""

    manifest: Manifest
    folder: Path


@dataclass(frozen=True)
class Catalog:
    """What jobs may name."""

    sources: DataSources
    datasets: tuple[str, ...]
    embeddings: tuple[OfferedEmbedding, ...]

    def embeddings_for(self, dataset: str, method: str) -> list[OfferedEmbedding]:
        """Return the embeddings that jobs on a data set may use."""
        return [
            offered
            for offered in self.embeddings
            if offered.manifest.dataset == dataset and offered.manifest.method == method
        ]

    def embedding_named(self, name: str) -> OfferedEmbedding | None:
        """Return the embedding of this name, if it is still there."""
        named = [offered for offered in self.embeddings if offered.manifest.name == name]
        return named[-1] if named else None

    def shape_of(self, dataset: str) -> tuple[tuple[int, int, int], int] | None:
        """Return input shape and classes of a data set that has an embedding."""
        for offered in self.embeddings:
            if offered.manifest.dataset == dataset:
                space = offered.manifest.space
                return space.input_shape, space.classes
        return None


def suitable(
    offers: Sequence[OfferedEmbedding], architecture: Architecture
) -> OfferedEmbedding | None:
    """Return the embedding that a network's jobs use, None if there is none.

    A network with joins or grouped convolutions takes one whose space has them, any other one whose
    space has none, which knows chains better; where there is no such embedding, what there is. Of
    two that suit alike the later one is taken.
    """
    needs = not architecture.is_chain or any(layer.groups > 1 for layer in architecture.layers)
    return max(
        offers,
        key=lambda offered: (offered.manifest.space.has_joins == needs, offers.index(offered)),
        default=None,
    )


def load_catalog(config: ServerConfig) -> Catalog:
    """Return what the settings offer.

    Raises:
        ValueError: an embedding's folder cannot be read, or a data set is unknown.
    """
    sources = data_sources(config)
    folders = [*bundled_folders(), *_folders(config.embeddings_dir)]
    embeddings = []
    for folder in folders:
        try:
            embeddings.append(OfferedEmbedding(read_manifest(folder), folder))
        except (OSError, KeyError, ValueError) as error:
            raise ValueError(f"embedding {folder}: {error}") from error
    fitted = (offered.manifest.dataset for offered in embeddings)
    default = dict.fromkeys((*DEFAULT_DATASETS, *config.dataset_files, *fitted))
    datasets = config.datasets or tuple(name for name in default if name in sources.names)
    for name in datasets:
        if name not in sources.names:
            raise ValueError(f"datasets: {name!r} is unknown; known are {', '.join(sources.names)}")
    return Catalog(sources, datasets, tuple(embeddings))


def data_sources(config: ServerConfig) -> DataSources:
    """Return where the settings say that data sets come from."""
    files: Mapping[str, Path] = config.dataset_files
    return DataSources(config.dataset_root, files, download=config.download_datasets)


def _folders(parents: Iterable[Path]) -> Iterable[Path]:
    """Yield the folders with a manifest: those given, and those right inside them."""
    for parent in parents:
        if (parent / "manifest.json").is_file():
            yield parent
            continue
        # A build that was killed leaves hidden folders.
        inside = sorted(path.parent for path in parent.glob("[!.]*/manifest.json"))
        if not inside:
            raise ValueError(f"embeddings_dir: there is no manifest.json in {parent}")
        yield from inside
