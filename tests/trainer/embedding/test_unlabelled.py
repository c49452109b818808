"""Free architectures: the same for the same seed, also from several processes."""

from __future__ import annotations

import pytest
import torch

from archpress_trainer.embedding.codec import Codec
from archpress_trainer.embedding.unlabelled import encode_all, sample_encoded
from tests.trainer.nets import SPACE, chains


def test_sampled_nets_are_their_own_encodings() -> None:
    sampled = sample_encoded(SPACE, 30, seed=0)
    encoded = encode_all(Codec(SPACE), chains(30, seed=0))
    assert len(sampled) == len(encoded) == 30
    assert torch.equal(sampled.classes, encoded.classes)
    assert torch.equal(sampled.derived, encoded.derived)
    assert torch.equal(sampled.features, encoded.features)
    assert not torch.equal(sampled.classes, sample_encoded(SPACE, 30, seed=1).classes)


@pytest.mark.slow
def test_two_workers_share_the_count() -> None:
    first, second = (sample_encoded(SPACE, 25, seed=3, workers=2) for _ in range(2))
    assert len(first) == 25
    assert torch.equal(first.classes, second.classes)
    assert len({row.numpy().tobytes() for row in first.classes}) > 20
