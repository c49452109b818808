"""The paper's sampler proposes what section 9 says."""

from __future__ import annotations

from random import Random

from archpress_trainer.space.architecture_space import paper_space
from archpress_trainer.space.paper_sampler import PaperSampler
from archpress_trainer.space.vocab import PAPER_KINDS, WEIGHTED, WINDOWED, LayerKind

SPACE = paper_space((3, 32, 32), 10)


def test_proposals_fill_the_papers_ranges_and_no_more() -> None:
    rng = Random(0)
    proposals = [PaperSampler(SPACE).propose(rng) for _ in range(1_500)]
    assert {len(layers) for layers in proposals} == set(range(2, 51))
    assert all(layers[-1].kind is LayerKind.LINEAR for layers in proposals)
    assert {layers[-1].out_channels for layers in proposals} == {10}
    drawn = [layer for layers in proposals for layer in layers[:-1]]
    assert {layer.kind for layer in drawn} == set(PAPER_KINDS)
    for name in ("kernel", "stride", "padding"):
        assert {getattr(x, name) for x in drawn if x.kind in WINDOWED} == set(range(1, 11))
        assert {getattr(x, name) for x in drawn if x.kind not in WINDOWED} == {0}
    widths = [layer.out_channels for layer in drawn if layer.kind in WEIGHTED]
    assert min(widths) >= 16
    assert max(widths) <= 4096
    assert min(widths) < 40
    assert max(widths) > 4050
    assert {layer.out_channels for layer in drawn if layer.kind not in WEIGHTED} == {0}
    assert {layer.rate for layer in drawn if layer.kind is LayerKind.DROPOUT} == {0.5}


def test_kinds_and_lengths_are_uniform() -> None:
    rng = Random(1)
    proposals = [PaperSampler(SPACE).propose(rng) for _ in range(2_000)]
    kinds = [layer.kind for layers in proposals for layer in layers[:-1]]
    for kind in PAPER_KINDS:
        assert abs(kinds.count(kind) / len(kinds) - 1 / 8) < 0.01
    assert abs(sum(len(layers) for layers in proposals) / 2_000 - 26) < 1.5
