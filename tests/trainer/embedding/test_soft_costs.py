"""Soft costs: exact where every class is certain, with gradients where not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from archpress_trainer.embedding.codec import Codec
from archpress_trainer.embedding.soft_costs import soft_costs
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layers import (
    average_pool,
    batch_norm,
    conv,
    dropout,
    linear,
    max_pool,
    relu,
)
from tests.trainer.nets import RESIDUAL_SPACE, SPACE, chains, residual_net, residual_nets

CODEC = Codec(SPACE)
RESIDUAL = Codec(RESIDUAL_SPACE)


def logits_of(
    nets: list[Architecture], certainty: float, codec: Codec = CODEC
) -> list[torch.Tensor]:
    classes = torch.from_numpy(np.stack([codec.encode(net) for net in nets])).long()
    return [
        certainty * functional.one_hot(classes[:, field], size).transpose(1, 2).float()
        for field, size in enumerate(codec.sizes)
    ]


def test_certain_logits_give_the_exact_costs() -> None:
    nets = chains(100, seed=8)
    found = soft_costs(CODEC, logits_of(nets, 200.0))
    exact = [count(net) for net in nets]
    assert found.params.tolist() == pytest.approx([c.params for c in exact], rel=1e-4)
    assert found.macs.tolist() == pytest.approx([c.macs for c in exact], rel=1e-4)


def test_certain_logits_give_the_exact_costs_with_joins() -> None:
    nets = [*residual_nets(100, seed=8), residual_net(), *chains(20)]
    found = soft_costs(RESIDUAL, logits_of(nets, 200.0, RESIDUAL))
    exact = [count(net) for net in nets]
    assert found.params.tolist() == pytest.approx([c.params for c in exact], rel=1e-4)
    assert found.macs.tolist() == pytest.approx([c.macs for c in exact], rel=1e-4)


def test_odd_nets() -> None:
    shape, classes = SPACE.input_shape, SPACE.classes
    hidden = (linear(64), batch_norm(), relu(), dropout(0.2))
    pools = (max_pool(3, stride=3), average_pool(3, stride=2))
    stacks = [
        (conv(8, 3, padding=0),),
        (conv(16, 7, stride=3), *hidden),
        (conv(8, 5), *pools, conv(24, 1, padding=3), batch_norm()),
    ]
    nets = [Architecture(shape, classes, (*stack, linear(classes))) for stack in stacks]
    found = soft_costs(CODEC, logits_of(nets, 200.0))
    assert found.params.tolist() == pytest.approx([count(n).params for n in nets], rel=1e-5)
    assert found.macs.tolist() == pytest.approx([count(n).macs for n in nets], rel=1e-5)


@pytest.mark.parametrize("codec", [CODEC, RESIDUAL], ids=["chains", "joins"])
def test_every_field_has_a_gradient(codec: Codec) -> None:
    logits = [values.requires_grad_() for values in logits_of(chains(8), 3.0, codec)]
    found = soft_costs(codec, logits)
    assert found.params.shape == found.macs.shape == (8,)
    for output in (found.params, found.macs):
        gradients = torch.autograd.grad(output.sum(), logits, retain_graph=True)
        for gradient in gradients:
            assert gradient.isfinite().all()
            assert gradient.abs().sum() > 0


def test_a_step_against_the_gradient_makes_the_net_smaller() -> None:
    logits = [values.requires_grad_() for values in logits_of(chains(16), 3.0)]
    before = soft_costs(CODEC, logits).params
    gradients = torch.autograd.grad(before.log().sum(), logits)
    stepped = [v.detach() - 0.05 * g for v, g in zip(logits, gradients, strict=True)]
    after = soft_costs(CODEC, stepped).params
    assert (after < before).all()


@pytest.mark.parametrize("codec", [CODEC, RESIDUAL], ids=["chains", "joins"])
def test_random_logits_give_finite_costs(codec: Codec) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = [10 * torch.randn(50, s, codec.length, generator=generator) for s in codec.sizes]
    found = soft_costs(codec, logits)
    for values in (found.params, found.macs):
        assert values.isfinite().all()
        assert (values >= 0).all()
