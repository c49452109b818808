"""`Fidelity`: how much training stands behind a measured accuracy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fidelity:
    """How much training stands behind a label: images, epochs, and seeds that are averaged."""

    train_images: int
    epochs: int
    seeds: int = 1

    def __str__(self) -> str:
        """Describe in words, for manifests and tables."""
        return f"{self.epochs} epochs x {self.train_images} images x {self.seeds} seed(s)"
