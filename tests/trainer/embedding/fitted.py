"""Small fitted embeddings that the tests share."""

from __future__ import annotations

import numpy as np
import torch

from archpress_trainer.embedding.features import feature_matrix
from archpress_trainer.embedding.fit_paper import fit_paper
from archpress_trainer.embedding.manifest import EmbeddingMethod, Manifest
from archpress_trainer.embedding.paper import PaperEmbedding, PaperSettings
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.training.fidelity import Fidelity
from tests.trainer.nets import SPACE, chains


def made_up_accuracy(architectures: list[Architecture]) -> torch.Tensor:
    """Return accuracies that grow with the parameters, with a little noise."""
    sizes = torch.tensor([float(count(a).params) for a in architectures]).log()
    noise = torch.randn(len(sizes), generator=torch.Generator().manual_seed(0)) * 0.02
    return (0.3 + 0.05 * (sizes - 7) + noise).clamp(0.05, 0.98)


def paper_embedding(iterations: int = 60, nets: int = 40, digest: str = "1" * 64) -> PaperEmbedding:
    """Return the paper's embedding, fitted for a moment on made-up labels."""
    architectures = chains(nets)

    def manifest(metrics: dict[str, float]) -> Manifest:
        return Manifest(
            name="small-paper",
            method=EmbeddingMethod.PAPER,
            dataset="tiny",
            dataset_fingerprint="0" * 64,
            space=SPACE,
            fidelity=Fidelity(100, 1),
            population_size=nets,
            population_digest=digest,
            metrics=metrics,
            settings={},
        )

    return fit_paper(
        manifest,
        architectures,
        made_up_accuracy(architectures),
        feature_matrix(architectures, SPACE).astype(np.float32),
        PaperSettings(iterations=iterations),
        SPACE,
        seed=0,
    )
