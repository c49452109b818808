"""The paper's model: what it decodes to, and the equations by which it learns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from archpress_trainer.embedding import fit_paper
from archpress_trainer.embedding.fit_paper import paper_predictions
from archpress_trainer.embedding.manifest import EmbeddingMethod, Manifest
from archpress_trainer.embedding.paper import (
    PaperEmbedding,
    PaperModel,
    PaperSettings,
    fit_paper_model,
    sequence_length,
    sequences,
)
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layers import conv, global_average_pool, linear, relu
from archpress_trainer.training.fidelity import Fidelity
from tests.trainer.embedding.fitted import made_up_accuracy
from tests.trainer.nets import CLASSES, INPUT_SHAPE, SPACE, chains, small_net

NET = small_net()
BASELINES = ("log_params", "ridge", "boosted_trees", "boosted_trees_all")
LAYERS = len(NET.layers)
LENGTH = SPACE.max_layers
MANIFEST = Manifest(
    name="small-paper",
    method=EmbeddingMethod.PAPER,
    dataset="tiny",
    dataset_fingerprint="0" * 64,
    space=SPACE,
    fidelity=Fidelity(100, 1),
    population_size=1,
    population_digest="1" * 64,
    metrics={},
    settings={},
)


def test_sequences_are_padded_to_a_multiple_of_four() -> None:
    assert [sequence_length(layers) for layers in (48, 49, 52)] == [48, 52, 52]
    (rows,) = sequences([NET], LENGTH)
    assert rows.shape == (5, LENGTH)
    assert (rows[:, :LAYERS] != 0).any(dim=0).all()
    assert not rows[:, LAYERS:].any()


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> PaperEmbedding:
    """An embedding whose points are the sequences that it decodes them to."""
    model = PaperModel(LENGTH)
    monkeypatch.setattr(model, "decode", lambda points: points)
    return PaperEmbedding(MANIFEST, model, torch.tensor(0.5))


@pytest.mark.parametrize("shift", [-0.4, 0.4])
def test_a_sequence_is_rounded_to_its_network(mirror: PaperEmbedding, shift: float) -> None:
    nets = [NET, *chains(4)]
    assert mirror.decode(sequences(nets, LENGTH) + shift) == nets


def test_a_network_ends_where_a_column_has_no_kind(mirror: PaperEmbedding) -> None:
    points = sequences([NET], LENGTH)
    points[:, 1:, LAYERS] = 5.0
    points[:, 0, LAYERS] = -3.0
    points[:, :, LAYERS + 1] = 1.0
    assert mirror.decode(points) == [NET]


def test_a_network_may_fill_all_columns(mirror: PaperEmbedding) -> None:
    layers = (conv(8, 3), *[relu()] * (LENGTH - 3), global_average_pool(), linear(CLASSES))
    net = Architecture(INPUT_SHAPE, CLASSES, layers)
    assert mirror.decode(sequences([net], LENGTH)) == [net]


def test_the_last_width_is_the_number_of_classes(mirror: PaperEmbedding) -> None:
    points = sequences([NET], LENGTH)
    points[:, 2, LAYERS - 1] = 999.0
    assert mirror.decode(points) == [NET]


@pytest.mark.parametrize(
    ("row", "column", "value"),
    [(0, 2, 99.0), (1, 0, 900.0), (3, 0, 0.0), (0, 0, 0.0)],
    ids=["kind", "kernel", "stride", "empty"],
)
def test_an_invalid_sequence_decodes_to_none(
    mirror: PaperEmbedding, row: int, column: int, value: float
) -> None:
    points = sequences([NET, NET], LENGTH)
    points[0, row, column] = value
    assert mirror.decode(points) == [None, NET]


def saying(value: float) -> nn.Sequential:
    """Return a regressor that says the same of every point."""
    layer = nn.Linear(PaperModel(LENGTH).dimensions, 1)
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, value)
    return nn.Sequential(layer)


@pytest.mark.parametrize(("standardised", "params"), [(1.5, 1_300.0), (-7.0, 1.0)])
def test_predictions_are_in_the_units_of_the_labels(standardised: float, params: float) -> None:
    model = PaperModel(LENGTH)
    model.accuracy, model.params = saying(0.7), saying(standardised)
    model.params_mean.fill_(1_000.0)
    model.params_std.fill_(200.0)
    embedding = PaperEmbedding(MANIFEST, model, torch.tensor(0.25))
    found = embedding.at(torch.zeros(2, embedding.dimensions))
    assert found.accuracy.tolist() == pytest.approx([0.7, 0.7])
    assert found.uncertainty.tolist() == [0.25, 0.25]
    assert found.log_params.exp().tolist() == pytest.approx([params, params])
    assert found.log_macs is None


def test_the_settings_are_those_of_section_10_2() -> None:
    paper = PaperSettings()
    assert paper.iterations == 80_000
    assert paper.learning_rate == 0.003
    assert paper.momentum == 0.5
    assert paper.decay == 1 / 5


def test_a_fit_follows_equations_12_to_15_with_nesterov_momentum() -> None:
    nets, accuracy = chains(12, seed=5), torch.linspace(0.2, 0.9, 12)
    settings = PaperSettings(iterations=3, batch_size=8, accuracy_weight=2.0, params_weight=0.5)
    fitted = fit_paper_model(nets, accuracy, LENGTH, settings, torch.Generator().manual_seed(2))

    generator = torch.Generator().manual_seed(2)
    model = fit_paper_model(nets, accuracy, LENGTH, replace(settings, iterations=0), generator)
    model.train()
    rows = sequences(nets, LENGTH)
    rows = (rows - rows.mean((0, 2), keepdim=True)) / rows.std((0, 2), keepdim=True)
    params = torch.tensor([float(count(net).params) for net in nets])
    params = (params - params.mean()) / params.std()
    weights = list(model.parameters())
    speeds = [torch.zeros_like(weight) for weight in weights]
    for rate in (0.003, 0.003 / 5, 0.003 / 25):
        chosen = torch.randint(12, (8,), generator=generator)
        points = model.encoder(rows[chosen])
        decoded = (model.decoder(points) - rows[chosen]).square().mean()
        missed = (model.accuracy(points).squeeze(1).sigmoid() - accuracy[chosen]).abs().mean()
        counted = model.params(points).squeeze(1)
        # Of some seeds all are zero, as are then the gradients of what this is to check.
        assert (counted > 0).all()
        off = (counted - params[chosen]).abs()
        huber = torch.where(off <= 1, off.square() / 2, off - 0.5).mean()
        gradients = torch.autograd.grad(decoded + 2.0 * missed + 0.5 * huber, weights)
        with torch.no_grad():
            for weight, speed, gradient in zip(weights, speeds, gradients, strict=True):
                speed.mul_(0.5).add_(gradient)
                weight.sub_(rate * (gradient + 0.5 * speed))
    for weight, expected in zip(fitted.parameters(), weights, strict=True):
        assert torch.allclose(weight, expected, rtol=1e-5, atol=1e-7)


QUICK = PaperSettings(iterations=3, batch_size=8)


def test_what_is_held_out_does_not_reach_the_fit() -> None:
    nets = chains(20)
    labels = made_up_accuracy(nets)
    held, predicted = paper_predictions(nets, labels, QUICK, SPACE, seed=2)
    assert len(set(held.tolist())) == len(predicted) == 4
    others = labels.clone()
    others[held] = 0.99
    again, unmoved = paper_predictions(nets, others, QUICK, SPACE, seed=2)
    assert again.tolist() == held.tolist()
    assert unmoved.tolist() == predicted.tolist()
    _, moved = paper_predictions(nets, labels.flip(0), QUICK, SPACE, seed=2)
    assert moved.tolist() != predicted.tolist()


def test_quality_is_measured_on_what_was_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    nets = chains(40)
    labels = made_up_accuracy(nets)
    simple = dict.fromkeys(BASELINES, labels.double().numpy())
    monkeypatch.setattr(fit_paper, "baseline_predictions", lambda *_, seed: simple)
    embedding = fit_paper.fit_paper(
        lambda metrics: replace(MANIFEST, metrics=metrics),
        nets,
        labels,
        np.zeros((40, 1), dtype=np.float32),
        QUICK,
        SPACE,
        seed=5,
    )
    metrics = embedding.manifest.metrics
    held, expected = paper_predictions(nets, labels, QUICK, SPACE, seed=5)
    found = embedding.predict([nets[place] for place in held])
    assert [p.accuracy for p in found] == pytest.approx(expected.tolist())
    assert metrics["held_out_networks"] == len(held) == 8
    errors = [abs(p.accuracy - labels[i].item()) for p, i in zip(found, held, strict=True)]
    assert metrics["mean_absolute_error"] == pytest.approx(sum(errors) / 8, abs=1e-4)
    inside = [p.lower <= labels[i].item() <= p.upper for p, i in zip(found, held, strict=True)]
    assert metrics["interval_coverage"] == sum(inside[1::2]) / 4
