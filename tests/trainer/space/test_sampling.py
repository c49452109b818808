"""Drawing from both samplers: repeatable, distinct, inside the space, every reject counted."""

from __future__ import annotations

from itertools import islice
from random import Random

import pytest

from archpress_trainer.space.architecture_space import ArchitectureSpace
from archpress_trainer.space.costs import count
from archpress_trainer.space.layer import Layer
from archpress_trainer.space.layers import conv, global_average_pool, linear, relu
from archpress_trainer.space.sampling import (
    Rejections,
    Sample,
    Sampler,
    SamplerExhaustedError,
    draw,
    examine,
)
from archpress_trainer.space.vocab import LayerKind
from tests.trainer.nets import SPACE, sampled, samplers

both = pytest.mark.parametrize("sampler", samplers(), ids=lambda s: type(s).__name__)


@both
def test_the_seed_decides_the_nets(sampler: Sampler) -> None:
    first, again, other = (
        [s.architecture for s in sampled(sampler, 15, seed=seed)] for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


@both
def test_nets_are_distinct_and_inside_the_space(sampler: Sampler) -> None:
    samples = sampled(sampler, 60, seed=3)
    assert len({s.architecture.digest for s in samples}) == 60
    for sample in samples:
        assert sampler.space.violations(sample.architecture) == []
        assert sample.costs == count(sample.architecture)


@both
def test_rejections_add_up(sampler: Sampler) -> None:
    rejections = Rejections()
    kept = len(list(islice(draw(sampler, Random(4), rejections=rejections), 30)))
    assert rejections.proposals == kept + sum(rejections.reasons.values())
    if type(sampler).__name__ == "PaperSampler":
        assert rejections.reasons["pool padding over half its kernel"] > 0
        assert rejections.reasons["feature map needed after a linear layer"] > 0


class _Fixed:
    """Proposes the same layers again and again."""

    def __init__(self, space: ArchitectureSpace, layers: list[Layer]) -> None:
        self.space = space
        self._layers = layers

    def propose(self, rng: Random) -> list[Layer]:
        return self._layers


def test_a_sampler_without_anything_new_is_exhausted() -> None:
    rejections = Rejections()
    net = [conv(8, 3), global_average_pool(), linear(4)]
    found = draw(_Fixed(SPACE, net), Random(0), rejections=rejections, patience=50)
    assert next(found).architecture.classes == 4
    with pytest.raises(SamplerExhaustedError, match=r"50 proposals.*'duplicate': 50"):
        next(found)
    assert rejections.proposals == 51


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ([linear(4)], "no convolution"),
        ([conv(8, 20, padding=0), linear(4)], "output vanishes"),
        ([linear(8), conv(8, 3), linear(4)], "feature map needed after a linear layer"),
        (
            [conv(8, 3), Layer(LayerKind.MAX_POOL, kernel=2, stride=2, padding=2), linear(4)],
            "pool padding over half its kernel",
        ),
        ([conv(8, 3), linear(5)], "invalid out_channels"),
        ([conv(8, 3), *[relu()] * 47, linear(4)], "outside the space: layers"),
        ([conv(1024, 7), linear(4)], "outside the space: params"),
        ([conv(8, 9), linear(4)], "outside the space: kernel"),
    ],
)
def test_reasons(layers: list[Layer], reason: str) -> None:
    space = ArchitectureSpace(SPACE.input_shape, SPACE.classes, max_params=100_000)
    assert examine(space, layers) == reason


def test_a_good_proposal_is_a_sample() -> None:
    assert isinstance(examine(SPACE, [conv(8, 3), linear(4)]), Sample)
