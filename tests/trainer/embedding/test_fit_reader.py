"""The reader says more of a net from its point than the head that shaped the embedding."""

from __future__ import annotations

from dataclasses import replace

import torch

from archpress_trainer.embedding.autoencoder import Autoencoder
from archpress_trainer.embedding.codec import Codec
from archpress_trainer.embedding.features import FEATURES
from archpress_trainer.embedding.fit_autoencoder import AutoencoderSettings, fit_autoencoder
from archpress_trainer.embedding.fit_reader import fit_reader
from archpress_trainer.embedding.unlabelled import encode_points, sample_encoded
from tests.trainer.nets import SPACE

SETTINGS = AutoencoderSettings(nets=500, iterations=60, batch_size=64, dimensions=32)


def test_the_reader_learns_the_features_and_leaves_the_rest() -> None:
    codec = Codec(SPACE)
    torch.manual_seed(0)
    model = Autoencoder(codec.sizes, codec.length, len(FEATURES), dimensions=32)
    data = sample_encoded(SPACE, SETTINGS.nets, 0)
    fit_autoencoder(model, data, SETTINGS, torch.Generator().manual_seed(0))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    mean, std = data.feature_statistics()
    longer = replace(SETTINGS, iterations=400)
    fit_reader(model, data, mean, std, longer, torch.Generator().manual_seed(1))
    changed = {
        name.split(".")[0]
        for name, value in model.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert changed == {"reader"}
    target = (data.features - mean) / std
    with torch.no_grad():
        points = encode_points(model, data)
        read, shaped = model.reader(points), model.feature_head(points)
    error = (read - target).square().mean()
    assert error < 0.7 * target.square().mean()
    assert error < (shaped - target).square().mean()
