"""The certificate refuses bytes that are not what was trained."""

from __future__ import annotations

import pytest
import torch

from archpress_server.compress.certify import certify, wilson_interval
from archpress_server.compress.export import to_onnx
from archpress_server.compress.types import Certificate, CompressionError, Reason
from archpress_trainer.data.registry import DataSources
from archpress_trainer.space.build import Network, build
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layers import batch_norm, conv, global_average_pool, linear, relu
from archpress_trainer.space.widths import SizeBudget

LAYERS = (conv(8, 3), batch_norm(), relu(), global_average_pool(), linear(4))
SMALL = Architecture((1, 12, 12), 4, LAYERS)


def network(seed: int) -> Network:
    return build(SMALL, torch.Generator().manual_seed(seed)).eval()


def certificate(
    sources: DataSources, exported: Network, trained: Network, budget: SizeBudget
) -> Certificate:
    dataset = sources.load("tiny")
    normalisation = dataset.split().normalisation
    model = to_onnx(exported, normalisation)
    return certify(model, trained, model, dataset.test(), normalisation, budget, threads=1)


def test_tells_what_the_bytes_are(tiny_sources: DataSources) -> None:
    found = certificate(tiny_sources, network(0), network(0), SizeBudget(200))
    assert found.costs == count(SMALL)
    assert found.params_on_bytes == count(SMALL).deployed_params == 72 + 8 + 36
    assert found.test_images == 200
    assert found.argmax_agreement == 1.0
    assert found.accuracy_lower <= found.accuracy <= found.accuracy_upper
    assert 0 < found.latency.p10_seconds <= found.latency.median_seconds
    assert found.latency.median_seconds <= found.latency.p90_seconds
    assert len(found.sha256) == 64


def test_refuses_other_weights(tiny_sources: DataSources) -> None:
    with pytest.raises(CompressionError, match="parity") as error:
        certificate(tiny_sources, network(0), network(1), SizeBudget(200))
    assert error.value.reason is Reason.CERTIFICATION_FAILED


def test_refuses_another_architecture(tiny_sources: DataSources) -> None:
    wider = Architecture((1, 12, 12), 4, (conv(9, 3), *LAYERS[1:]))
    other = build(wider, torch.Generator().manual_seed(0)).eval()
    with pytest.raises(CompressionError, match="counts"):
        certificate(tiny_sources, other, network(0), SizeBudget(200))


def test_refuses_what_is_over_the_budget(tiny_sources: DataSources) -> None:
    with pytest.raises(CompressionError, match="budget"):
        certificate(tiny_sources, network(0), network(0), SizeBudget(count(SMALL).params - 1))


def test_wilson_interval_of_known_numbers() -> None:
    lower, upper = wilson_interval(0.93, 10_000)
    assert lower == pytest.approx(0.92484, abs=1e-4)
    assert upper == pytest.approx(0.93484, abs=1e-4)
    assert wilson_interval(1.0, 50)[1] == pytest.approx(1.0)
