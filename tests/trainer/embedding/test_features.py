"""Hand features of a network, counted by hand."""

from __future__ import annotations

from math import log2

import numpy as np
import pytest

from archpress_trainer.embedding.features import FEATURES, feature_matrix, feature_names, features
from archpress_trainer.space.costs import count
from tests.trainer.nets import RESIDUAL_SPACE, SPACE, chains, residual_net, small_net


def test_by_hand() -> None:
    net = small_net()
    found = dict(zip(FEATURES, features(net, SPACE).tolist(), strict=True))
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


def test_joins_by_hand() -> None:
    net = residual_net()
    names = feature_names(RESIDUAL_SPACE)
    found = dict(zip(names, features(net, RESIDUAL_SPACE).tolist(), strict=True))
    expected = {
        "sums": 2,
        "concatenations": 1,
        "projections": 1,
        "depthwise convolutions": 1,
        "share of depthwise convolutions": 1 / 6,
        # The stem, the projection and the classifier; the skips lead round all others.
        "weighted layers on the shortest path": 3,
        "weighted layers on the longest path": 6,
        # Two through the first sum, those or once more through the second, two at the end.
        "log2 paths": log2(2 * 2 * 2),
        "share of weighted layers off the shortest path": 1 - 3 / 7,
        "mean reach of joins": (6 + 3 + 4) / 3,
        "convolutions before the first join": 3,
        "linear convolutions in front of a sum": 2,
        "largest log2 growth of width": 1,
        # 3, two of kernel 3, one that strides, one at twice the distance.
        "log2 receptive field": log2(3 + 2 + 2 + 2 + 4),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-5), name


def test_a_matrix_is_rows_of_finite_numbers() -> None:
    nets = chains(50)
    matrix = feature_matrix(nets, SPACE)
    assert matrix.shape == (50, len(FEATURES))
    assert np.isfinite(matrix).all()
    assert np.array_equal(matrix[7], features(nets[7], SPACE))
