"""Fitting the reader: the features of a net from its point, once the embedding is settled."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch.nn import functional

from archpress_trainer.embedding.autoencoder import Autoencoder
from archpress_trainer.embedding.fit_autoencoder import AutoencoderSettings
from archpress_trainer.embedding.unlabelled import Encoded, encode_points


def fit_reader(
    model: Autoencoder,
    data: Encoded,
    feature_mean: torch.Tensor,
    feature_std: torch.Tensor,
    settings: AutoencoderSettings,
    generator: torch.Generator,
    *,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> None:
    """Fit a model's reader in place, on the blurred points of the first `reader_nets` nets.

    The features are standardised by `feature_mean` and `feature_std`, each `(features,)`.
    """
    known = data.first(settings.reader_nets)
    points = encode_points(model, known)
    features = (known.features - feature_mean) / feature_std
    optimizer = torch.optim.AdamW(
        model.reader.parameters(), lr=settings.learning_rate, weight_decay=1e-3
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.iterations)
    model.reader.train()
    for _ in range(settings.iterations):
        chosen = torch.randint(len(points), (settings.batch_size,), generator=generator)
        noise = torch.randn((settings.batch_size, model.dimensions), generator=generator)
        with autocast():
            read = model.reader(points[chosen] + model.blur * noise)
        loss = functional.smooth_l1_loss(read.float(), features[chosen])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    model.reader.eval()
