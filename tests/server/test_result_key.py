"""What decides a result, and what does not."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from archpress_server.catalog import Catalog, OfferedEmbedding, load_catalog
from archpress_server.compress.latency_table import LatencyTable
from archpress_server.compress.types import Budget, Effort, Method, Request
from archpress_server.config import ServerConfig
from archpress_server.result_key import result_key
from archpress_trainer.space.named import named


@pytest.fixture
def catalog(config: ServerConfig) -> Catalog:
    return load_catalog(config)


@pytest.fixture
def offered(catalog: Catalog) -> OfferedEmbedding:
    return catalog.embeddings_for("fashion-mnist", "default")[0]


@pytest.fixture
def request_() -> Request:
    return Request(named("conv-7", (1, 28, 28), 10), "fashion-mnist")


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": named("conv-10", (1, 28, 28), 10)},
        {"dataset": "cifar10"},
        {"budget": Budget(max_params=10_000)},
        {"effort": Effort.FULL},
        {"method": Method.PAPER},
        {"seed": 1},
        {"pareto_models": 2},
        {"int8": True},
        {"training_seeds": 2},
        {
            "budget": Budget(max_latency_seconds=1.0),
            "latency_table": LatencyTable((), fixed_seconds=0.5),
        },
    ],
    ids=lambda change: ",".join(change),
)
def test_every_part_of_a_request_decides(
    catalog: Catalog, offered: OfferedEmbedding, request_: Request, change: dict[str, Any]
) -> None:
    key = result_key(request_, offered, catalog)
    assert key == result_key(replace(request_), offered, catalog)
    assert result_key(replace(request_, **change), offered, catalog) not in ("", key)


def test_the_embedding_decides_by_more_than_its_name(
    catalog: Catalog, offered: OfferedEmbedding, request_: Request
) -> None:
    rebuilt = replace(offered, manifest=replace(offered.manifest, population_digest="1" * 64))
    key = result_key(request_, offered, catalog)
    assert result_key(request_, rebuilt, catalog) != key


def test_what_is_measured_on_the_cpu_is_measured_again(
    catalog: Catalog, offered: OfferedEmbedding, request_: Request
) -> None:
    measured = replace(request_, budget=Budget(max_latency_seconds=0.001))
    assert result_key(measured, offered, catalog) == ""


def test_an_own_data_set_decides_by_its_file(
    catalog: Catalog, offered: OfferedEmbedding, request_: Request, tmp_path: Path
) -> None:
    path = tmp_path / "own.npz"
    sources = replace(catalog.sources, files={"own": path})
    own, mine = replace(catalog, sources=sources), replace(request_, dataset="own")
    assert result_key(mine, offered, own) == ""
    path.write_bytes(b"1")
    os.utime(path, (1, 1))
    key = result_key(mine, offered, own)
    assert key
    os.utime(path, (2, 2))
    assert result_key(mine, offered, own) not in ("", key)
    path.unlink()
    path.mkdir()
    assert result_key(mine, offered, own) == ""
