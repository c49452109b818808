"""What every `Embedding` promises, checked on each implementation."""

from __future__ import annotations

import pytest
import torch

from archpress_trainer.embedding.artifact import load
from archpress_trainer.embedding.codec import OutsideSpaceError
from archpress_trainer.embedding.default import DefaultEmbedding
from archpress_trainer.embedding.interface import Embedding
from archpress_trainer.embedding.paper import PaperEmbedding
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layers import add, conv, global_average_pool, linear, relu
from tests.trainer.embedding.fitted import paper_embedding
from tests.trainer.nets import CLASSES, INPUT_SHAPE, chains

NETS = chains(12, seed=3)
FOLDERS = {"default": "tiny_embedding", "residual": "tiny_residual_embedding"}


@pytest.fixture(scope="module", params=[*FOLDERS, "paper"])
def embedding(request: pytest.FixtureRequest) -> Embedding:
    if request.param in FOLDERS:
        return load(request.getfixturevalue(FOLDERS[request.param]))
    return paper_embedding()


def test_points(embedding: Embedding) -> None:
    points = embedding.encode(NETS)
    assert points.shape == (len(NETS), embedding.dimensions)
    assert points.isfinite().all()
    assert torch.allclose(points[3:5], embedding.encode(NETS[3:5]), atol=1e-4)
    assert not torch.allclose(points[0], points[1])


def test_predictions_at_points_have_gradients(embedding: Embedding) -> None:
    points = embedding.encode(NETS).clone().requires_grad_()
    found = embedding.at(points)
    outputs = {"accuracy": found.accuracy, "log_params": found.log_params}
    if found.log_macs is not None:
        outputs["log_macs"] = found.log_macs
    assert found.uncertainty.shape == (len(NETS),)
    assert (found.uncertainty > 0).all()
    for name, values in outputs.items():
        assert values.shape == (len(NETS),), name
        assert values.isfinite().all(), name
        (gradient,) = torch.autograd.grad(values.sum(), points, retain_graph=True)
        assert gradient.shape == points.shape
        assert gradient.isfinite().all(), name
    (gradient,) = torch.autograd.grad(found.accuracy.sum(), points)
    assert (gradient.abs().sum(dim=1) > 0).all()


def test_using_it_changes_nothing(embedding: Embedding) -> None:
    before = {name: value.clone() for name, value in embedding.state().items()}
    points = embedding.encode(NETS).clone().requires_grad_()
    embedding.at(points).accuracy.sum().backward()
    embedding.decode(points.detach())
    embedding.predict(NETS)
    after = embedding.state()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_decodes_are_valid_networks_or_none(embedding: Embedding) -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(20, embedding.dimensions, generator=generator)
    points = torch.cat([embedding.encode(NETS), noise, 30 * noise])
    decoded = embedding.decode(points)
    assert len(decoded) == len(points)
    for net in decoded:
        if net is not None:
            assert isinstance(net, Architecture)
            assert (net.input_shape, net.classes) == (INPUT_SHAPE, CLASSES)
            assert net.is_chain or embedding.manifest.space.has_joins
            assert Architecture.from_json(net.to_json()) == net
    assert embedding.decode(points) == decoded


def test_predictions_are_accuracies_in_their_intervals(embedding: Embedding) -> None:
    predictions = embedding.predict(NETS)
    assert len(predictions) == len(NETS)
    for prediction in predictions:
        assert 0 <= prediction.lower <= prediction.accuracy <= prediction.upper <= 1
        assert prediction.lower < prediction.upper
    assert len({prediction.accuracy for prediction in predictions}) > 1
    again = embedding.predict(NETS[2:4])
    assert [p.accuracy for p in again] == pytest.approx(
        [p.accuracy for p in predictions[2:4]], abs=1e-4
    )
    assert embedding.predict([]) == []


def test_nets_outside_the_space_are_refused(embedding: Embedding) -> None:
    tail = (global_average_pool(), linear(CLASSES))
    triple = (conv(8, 3), conv(8, 3), conv(8, 3), add(0, 1, 2))
    skip = Architecture(INPUT_SHAPE, CLASSES, (*triple, *tail))
    deep = Architecture(INPUT_SHAPE, CLASSES, (conv(8, 3), *[relu()] * 100, *tail))
    wide = Architecture((1, 40, 40), CLASSES, (conv(8, 3), *tail))
    grouped = Architecture(INPUT_SHAPE, CLASSES, (conv(8, 3), conv(8, 3, groups=2), *tail))
    for net in (skip, deep, wide, grouped):
        with pytest.raises(OutsideSpaceError):
            embedding.encode([net])
        with pytest.raises(OutsideSpaceError):
            embedding.predict([net])


def test_state_round_trip(embedding: Embedding) -> None:
    assert isinstance(embedding, DefaultEmbedding | PaperEmbedding)
    again = type(embedding).from_state(embedding.manifest, embedding.state(), embedding.exemplars)
    assert again.manifest == embedding.manifest
    assert again.dimensions == embedding.dimensions
    assert tuple(again.exemplars) == tuple(embedding.exemplars)
    points = embedding.encode(NETS)
    assert torch.equal(again.encode(NETS), points)
    assert again.predict(NETS) == embedding.predict(NETS)
    assert again.decode(points) == embedding.decode(points)


def test_all_state_is_finite_tensors(embedding: Embedding) -> None:
    assert all(isinstance(value, torch.Tensor) for value in embedding.state().values())
    assert all(value.isfinite().all() for value in embedding.state().values())


def test_draws_are_accuracies_about_the_prediction(embedding: Embedding) -> None:
    found = embedding.draw(NETS, 2_000, torch.Generator().manual_seed(0))
    assert found.accuracy.shape == found.label.shape == (2_000, len(NETS))
    assert found.accuracy.min() >= 0
    assert found.label.max() <= 1
    for index, prediction in enumerate(embedding.predict(NETS)):
        middle = found.accuracy[:, index].median().item()
        assert middle == pytest.approx(prediction.accuracy, abs=0.02)
        inside = (found.label[:, index] - prediction.accuracy).abs().quantile(0.5)
        assert inside < (prediction.upper - prediction.lower) / 2
    again = embedding.draw(NETS, 2_000, torch.Generator().manual_seed(0))
    assert torch.equal(again.label, found.label)
