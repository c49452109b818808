"""A fidelity says itself in words."""

from __future__ import annotations

from archpress_trainer.training.fidelity import Fidelity


def test_words() -> None:
    assert str(Fidelity(12_000, 3)) == "3 epochs x 12000 images x 1 seed(s)"
