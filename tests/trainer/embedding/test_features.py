"""Hand features of a network, counted by hand."""

from __future__ import annotations

from math import log2

import numpy as np
import pytest

from archpress_trainer.embedding.features import FEATURES, feature_matrix, features
from archpress_trainer.space.costs import count
from tests.trainer.nets import chains, small_net


def test_by_hand() -> None:
    net = small_net()
    found = dict(zip(FEATURES, features(net).tolist(), strict=True))
    expected = {
        "log2 params": log2(count(net).params),
        "log2 macs": log2(count(net).macs),
        "layers": 9,
        "convolutions": 2,
        "log2 mean width": 3.5,
        "log2 widest": 4,
        "log2 first width": 3,
        "log2 last width": 4,
        "mean kernel": 3,
        "batch norms per convolution": 1,
        "activations per convolution": 1,
        "log2 side before the head": log2(6),
        "log2 features into the classifier": 4,
        "downsamplings": 1,
        "max pools": 1,
        "average pools": 0,
        "global pool": 1,
        "dropouts": 0,
        "hidden linear layers": 0,
        "sigmoids": 0,
        "place of the first downsampling": 3 / 9,
        # 3, then a pool of 2 and a kernel of 3 at twice the distance.
        "log2 receptive field": log2(3 + 1 + 4),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-5), name


def test_a_matrix_is_rows_of_finite_numbers() -> None:
    nets = chains(50)
    matrix = feature_matrix(nets)
    assert matrix.shape == (50, len(FEATURES))
    assert np.isfinite(matrix).all()
    assert np.array_equal(matrix[7], features(nets[7]))
