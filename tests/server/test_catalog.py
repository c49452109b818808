"""The catalog: which embedding serves which network."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from archpress_server.catalog import Catalog, OfferedEmbedding, load_catalog, suitable
from archpress_server.config import ServerConfig
from archpress_trainer.space.architecture_space import residual_space
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layers import conv, global_average_pool, linear
from archpress_trainer.space.named import named

PLAIN = named("conv-7", (1, 28, 28), 10)
RESIDUAL = named("resnet-20", (1, 28, 28), 10)
DEPTHWISE = Architecture(
    (1, 28, 28), 10, (conv(8, 3), conv(8, 3, groups=8), global_average_pool(), linear(10))
)


@pytest.fixture
def chains(config: ServerConfig) -> OfferedEmbedding:
    offers = load_catalog(config).embeddings_for("fashion-mnist", "default")
    return next(offered for offered in offers if not offered.manifest.space.has_joins)


@pytest.fixture
def joins(chains: OfferedEmbedding) -> OfferedEmbedding:
    space = residual_space((1, 28, 28), 10)
    manifest = replace(chains.manifest, name="with-joins", space=space)
    return OfferedEmbedding(manifest, Path("/nowhere"))


def test_a_plain_network_takes_an_embedding_of_chains(
    chains: OfferedEmbedding, joins: OfferedEmbedding
) -> None:
    assert suitable([chains, joins], PLAIN) is chains
    assert suitable([joins, chains], PLAIN) is chains


@pytest.mark.parametrize("network", [RESIDUAL, DEPTHWISE], ids=["skips", "depthwise"])
def test_other_networks_take_one_with_joins(
    chains: OfferedEmbedding, joins: OfferedEmbedding, network: Architecture
) -> None:
    assert suitable([chains, joins], network) is joins
    assert suitable([joins, chains], network) is joins


def test_an_unsuitable_embedding_is_better_than_none(
    chains: OfferedEmbedding, joins: OfferedEmbedding
) -> None:
    assert suitable([chains], RESIDUAL) is chains
    assert suitable([joins], PLAIN) is joins
    assert suitable([], PLAIN) is None


def test_of_two_alike_the_later_is_taken(chains: OfferedEmbedding) -> None:
    later = replace(chains, folder=Path("/later"))
    assert suitable([chains, later], PLAIN) is later


def test_embeddings_are_those_of_the_data_set_and_method(config: ServerConfig) -> None:
    catalog: Catalog = load_catalog(config)
    for method in ("default", "paper"):
        for offered in catalog.embeddings_for("fashion-mnist", method):
            assert offered.manifest.dataset == "fashion-mnist"
            assert offered.manifest.method == method
    assert catalog.embeddings_for("nowhere", "default") == []


def test_what_a_killed_build_left_is_not_offered(
    config: ServerConfig, tiny_embedding: Path, tmp_path: Path
) -> None:
    for name in ("mine", ".mine.old"):
        shutil.copytree(tiny_embedding, tmp_path / "all" / name)
    catalog = load_catalog(config.model_copy(update={"embeddings_dir": (tmp_path / "all",)}))
    found = [offered.folder for offered in catalog.embeddings_for("tiny", "default")]
    assert found == [tmp_path / "all" / "mine"]
