"""The autoencoder: its fit brings the loss down, and padding does not count."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from archpress_trainer.embedding.autoencoder import (
    Autoencoder,
    exactly_reconstructed,
    reconstruction_loss,
)
from archpress_trainer.embedding.codec import FIELDS, Codec
from archpress_trainer.embedding.features import FEATURES
from archpress_trainer.embedding.fit_autoencoder import (
    AutoencoderSettings,
    FitStep,
    fit_autoencoder,
    reconstruction_by_field,
)
from archpress_trainer.embedding.unlabelled import Encoded, encode_all, sample_encoded
from tests.trainer.nets import SPACE, chains

CODEC = Codec(SPACE)
SETTINGS = AutoencoderSettings(nets=400, iterations=30, batch_size=64, dimensions=32)


@pytest.fixture(scope="module")
def data() -> Encoded:
    return sample_encoded(SPACE, 400, seed=0)


def model() -> Autoencoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Autoencoder(CODEC.sizes, CODEC.length, len(FEATURES), dimensions=32)


def fit(data: Encoded) -> tuple[Autoencoder, tuple[FitStep, ...]]:
    fitted = model()
    generator = torch.Generator().manual_seed(0)
    return fitted, fit_autoencoder(fitted, data, SETTINGS, generator, report_every=10)


def test_the_loss_falls_and_the_seed_decides(data: Encoded) -> None:
    fitted, curve = fit(data)
    assert [step.iteration for step in curve] == [10, 20, 30]
    assert curve[-1].loss < 0.85 * curve[0].loss
    assert curve[-1].reconstruction < curve[0].reconstruction
    assert all(0 <= step.exact <= 1 for step in curve)
    again, same = fit(data)
    assert same == curve
    assert all(
        torch.equal(a, b) for a, b in zip(fitted.parameters(), again.parameters(), strict=True)
    )
    with torch.no_grad():
        points = fitted.encode(data.classes, data.derived.float())
    assert points.shape == (400, 32)
    # Standardised: about unit variance in each dimension.
    assert 0.3 < float(points.std(dim=0).median()) < 3


def certain(classes: torch.Tensor) -> list[torch.Tensor]:
    return [
        50.0 * functional.one_hot(classes[:, field].long(), size).transpose(1, 2).float()
        for field, size in enumerate(CODEC.sizes)
    ]


def test_right_logits_cost_nothing_and_are_exact(data: Encoded) -> None:
    logits = certain(data.classes[:20])
    assert reconstruction_loss(logits, data.classes[:20]) < 1e-3
    assert exactly_reconstructed(logits, data.classes[:20]).all()


def test_what_lies_behind_the_end_does_not_count() -> None:
    encoded = encode_all(CODEC, chains(10))
    logits = certain(encoded.classes)
    ends = (encoded.classes[:, 0] != 0).sum(dim=1)
    for index, end in enumerate(ends.tolist()):
        for field in logits:
            field[index, :, end + 1 :] = torch.randn_like(field[index, :, end + 1 :])
    assert exactly_reconstructed(logits, encoded.classes).all()
    assert reconstruction_loss(logits, encoded.classes) < 1e-3
    # The end itself does count.
    logits[0][0, :, ends[0]] = 0.0
    logits[0][0, 1, ends[0]] = 50.0
    assert exactly_reconstructed(logits, encoded.classes).tolist() == [False] + [True] * 9
    assert reconstruction_loss(logits, encoded.classes) > 1.0


def test_one_wrong_field_is_not_exact() -> None:
    encoded = encode_all(CODEC, chains(6))
    for field in range(5):
        logits = certain(encoded.classes)
        logits[field] = logits[field].roll(1, dims=1)
        assert not exactly_reconstructed(logits, encoded.classes).any()


def test_an_unfitted_model_reconstructs_nothing(data: Encoded) -> None:
    shares = reconstruction_by_field(model(), data, FIELDS)
    assert list(shares) == ["kind", "kernel", "channels", "stride", "padding", "exact"]
    assert shares["exact"] == 0.0


def test_blur_acts_on_the_decoder_only(data: Encoded) -> None:
    fresh = model().eval()
    classes, derived = data.classes[:8], data.derived[:8].float()
    with torch.no_grad():
        first, logits, facts = fresh(classes, derived, torch.Generator().manual_seed(0))
        second, others, _ = fresh(classes, derived, torch.Generator().manual_seed(1))
        sizes = tuple(values.shape[1] for values in logits)
    assert torch.equal(first, second)
    assert not torch.equal(logits[0], others[0])
    assert sizes == CODEC.sizes
    assert facts.shape == data.features[:8].shape


@pytest.mark.parametrize("iterations", [1, 2, 9, 10, 11, 20])
def test_short_fits_work(iterations: int, data: Encoded) -> None:
    settings = AutoencoderSettings(nets=400, iterations=iterations, batch_size=8, dimensions=32)
    curve = fit_autoencoder(model(), data, settings, torch.Generator().manual_seed(0))
    assert [step.iteration for step in curve] == [iterations]
