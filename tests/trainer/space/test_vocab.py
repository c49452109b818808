"""The vocabulary's numbers are public: stored sequences and artifacts depend on them."""

from __future__ import annotations

from archpress_trainer.space.vocab import (
    ACTIVATIONS,
    CLASSIFIERS,
    JOINS,
    PAPER_KINDS,
    POOLS,
    WEIGHTED,
    WINDOWED,
    LayerKind,
    Limits,
)


def test_the_numbers_are_pinned() -> None:
    assert {kind.name: kind.value for kind in LayerKind} == {
        "CONVOLUTION": 1,
        "MAX_POOL": 2,
        "BATCH_NORM": 3,
        "RELU": 4,
        "SIGMOID": 5,
        "DROPOUT": 6,
        "AVERAGE_POOL": 7,
        "LINEAR": 8,
        "GLOBAL_AVERAGE_POOL": 9,
        "ADD": 10,
        "CONCAT": 11,
        "LEAKY_RELU": 12,
        "RELU6": 13,
        "SILU": 14,
        "HARD_SWISH": 15,
        "GELU": 16,
        "TANH": 17,
    }


def test_the_papers_kinds_are_the_first_eight() -> None:
    assert [kind.value for kind in PAPER_KINDS] == list(range(1, 9))


def test_the_groups_of_kinds_cover_all_but_two() -> None:
    grouped = ACTIVATIONS | WEIGHTED | WINDOWED | JOINS | CLASSIFIERS
    assert set(LayerKind) - grouped == {LayerKind.BATCH_NORM, LayerKind.DROPOUT}
    assert POOLS < WINDOWED
    assert not ACTIVATIONS & (WEIGHTED | WINDOWED | JOINS | CLASSIFIERS)


def test_the_limits_are_pinned() -> None:
    limits = {name: value for name, value in vars(Limits).items() if name.isupper()}
    assert limits == {
        "LAYERS": 512,
        "CHANNELS": 16_384,
        "KERNEL": 31,
        "STRIDE": 16,
        "PADDING": 30,
        "INPUT_SIDE": 512,
        "INPUT_CHANNELS": 64,
        "CLASSES": 10_000,
    }
