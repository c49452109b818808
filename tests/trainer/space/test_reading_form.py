"""The reading form: the same network, with pairwise joins and short branches last."""

from __future__ import annotations

from random import Random

import pytest
import torch

from archpress_trainer.space.architecture_space import residual_space
from archpress_trainer.space.build import build
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layer import Layer
from archpress_trainer.space.layers import (
    add,
    batch_norm,
    concat,
    conv,
    global_average_pool,
    linear,
    relu,
)
from archpress_trainer.space.named import named
from archpress_trainer.space.reading_form import reading_form
from archpress_trainer.space.vocab import JOINS, Limits
from tests.trainer.nets import chains, random_dag, residual_net, residual_nets

TAIL = (global_average_pool(), linear(3))


def dense(layers: int, growth: int = 4) -> Architecture:
    """Return a dense block as libraries build it: each layer concatenates all before it."""
    found: list[Layer] = [conv(8, 3)]
    features = [0]
    for _ in range(layers):
        if len(features) > 1:
            found.append(concat(*features))
        found += [batch_norm(inputs=(len(found) - 1,)), relu(), conv(growth, 3)]
        features.append(len(found) - 1)
    found.append(concat(*features))
    return Architecture((2, 8, 8), 3, (*found, *TAIL))


@pytest.mark.parametrize("layers", [1, 2, 5])
def test_a_dense_block_has_pairwise_joins(layers: int) -> None:
    net = dense(layers)
    found = reading_form(net)
    joins = [layer for layer in found.layers if layer.kind in JOINS]
    assert len(joins) == layers
    assert all(len(layer.inputs) == 2 for layer in joins)
    assert (count(found).params, count(found).macs) == (count(net).params, count(net).macs)
    assert residual_space((2, 8, 8), 3).contains(found)


def test_a_network_that_would_get_too_long_stays() -> None:
    many = add(*[0] * Limits.LAYERS)
    net = Architecture((2, 8, 8), 3, (conv(8, 3), many, add(0, 1, 0), *TAIL))
    assert reading_form(net) is net


def test_a_dense_block_computes_the_same() -> None:
    net = dense(3)
    found = reading_form(net)
    first, second = build(net).eval(), build(found).eval()
    weights = [
        [p for p in network.state_dict().values() if p.dim() > 0] for network in (first, second)
    ]
    with torch.no_grad():
        for theirs, ours in zip(*weights, strict=True):
            ours.copy_(theirs)
    images = torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(first(images), second(images), atol=1e-6)


def test_a_projection_is_listed_behind_its_body() -> None:
    stem = (conv(8, 3), batch_norm(), relu())
    shortcut = (conv(16, 1, stride=2), batch_norm())
    body = (conv(16, 3, stride=2, inputs=(2,)), batch_norm(), relu(), conv(16, 3), batch_norm())
    net = Architecture((2, 8, 8), 3, (*stem, *shortcut, *body, add(9, 4), relu(), *TAIL))
    found = reading_form(net)
    assert [found.layers[i].kernel for i in (3, 6, 8)] == [3, 3, 1]
    assert found.layers[10].inputs == (7, 9)
    assert found.digest == net.digest
    assert residual_space((2, 8, 8), 3).contains(found)


def test_what_is_in_the_form_stays() -> None:
    resnet = named("resnet-20", (3, 32, 32), 10)
    for net in [*chains(10), *residual_nets(40), residual_net(), resnet]:
        assert reading_form(net) is net


def test_any_network_keeps_its_costs() -> None:
    for seed in range(60):
        net = random_dag(Random(seed))
        found = reading_form(net)
        assert (count(found).params, count(found).macs) == (count(net).params, count(net).macs)
        assert all(len(la.inputs) == 2 for la in found.layers if la.kind in JOINS)
        assert reading_form(found) == found
