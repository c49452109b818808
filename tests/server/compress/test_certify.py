"""The certificate refuses bytes that are not what was trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from archpress_server.compress import certify as module
from archpress_server.compress.certify import certify, run_model, wilson_interval
from archpress_server.compress.export import to_onnx
from archpress_server.compress.latency import session
from archpress_server.compress.types import Certificate, CompressionError, Reason
from archpress_trainer.data.dataset import LabelledImages, Normalisation
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


def tied(first: float, second: float) -> Network:
    """Return a network of two equal classes before all others, shifted by so much."""
    found = network(0)
    head = found.layers[-1]
    with torch.no_grad():
        weight, bias = head.get_parameter("weight"), head.get_parameter("bias")
        weight.mul_(0.1)
        weight[1] = weight[0]
        bias[:] = torch.tensor([first, second, -0.5, -0.5])
    return found


def test_classes_that_nearly_tie_may_change_places(tiny_sources: DataSources) -> None:
    exported, trained = tied(0.0, 5e-4), tied(5e-4, 0.0)
    found = certificate(tiny_sources, exported, trained, SizeBudget(200))
    assert found.argmax_agreement == 0.0
    assert found.max_abs_logit_difference == pytest.approx(5e-4, rel=0.01)


def test_refuses_where_the_better_class_was_clear(tiny_sources: DataSources) -> None:
    # Each logit is within the bound, the better class was ahead by more.
    exported, trained = tied(6e-4, 9e-4), tied(15e-4, 0.0)
    with pytest.raises(CompressionError, match="parity"):
        certificate(tiny_sources, exported, trained, SizeBudget(200))


def test_memory_bounds_the_images_that_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = (conv(512, 1, padding=0), relu(), conv(4, 1, padding=0), global_average_pool())
    large = Architecture((1, 128, 128), 4, (*wide, linear(4)))
    built = build(large, torch.Generator().manual_seed(0)).eval()
    model = to_onnx(built, Normalisation((0.0,), (1.0,)))
    images = torch.randint(0, 256, (5, 1, 128, 128), dtype=torch.uint8)
    test = LabelledImages(images, torch.zeros(5, dtype=torch.long))
    one_by_one = [
        run_model(model, large, LabelledImages(image[None], test.labels[:1]), 1) for image in images
    ]
    watched = _Watched(model)
    monkeypatch.setattr(module, "session", lambda *_: watched)
    found = run_model(model, large, test, 1)
    assert watched.sizes == [3, 2]
    assert 3 * count(large).peak_activation_bytes <= 256e6 < 4 * count(large).peak_activation_bytes
    assert np.allclose(found, np.concatenate(one_by_one), atol=1e-5)


class _Watched:
    """A session that remembers how many images it ran at once."""

    def __init__(self, model: bytes) -> None:
        self._inner = session(model, 1)
        self.sizes: list[int] = []

    def run(self, names: None, feed: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        self.sizes += [len(batch) for batch in feed.values()]
        found: list[NDArray[np.float32]] = self._inner.run(names, feed)
        return found


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
