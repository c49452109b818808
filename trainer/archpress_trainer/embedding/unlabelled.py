"""Free architectures for the autoencoder: sampled nets as arrays, drawn in parallel."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from random import Random

import numpy as np
import torch

from archpress_trainer.embedding.autoencoder import Autoencoder
from archpress_trainer.embedding.codec import Codec
from archpress_trainer.embedding.features import features
from archpress_trainer.embedding.manifest import ArtifactError
from archpress_trainer.processes import worker_pool
from archpress_trainer.space.architecture_space import ArchitectureSpace
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.prior import prior
from archpress_trainer.space.sampling import draw

_BATCH = 512


@dataclass(frozen=True)
class Encoded:
    """Architectures as tensors: what the autoencoder reads and is to predict.

    `classes` `(count, fields, length)` uint8, `derived` `(count, 4, length)` float16, `features`
    `(count, features)` float32.
    """

    classes: torch.Tensor
    derived: torch.Tensor
    features: torch.Tensor

    def __len__(self) -> int:
        """Return the number of architectures."""
        return len(self.classes)

    def first(self, count: int) -> Encoded:
        """Return the first `count` architectures, or all."""
        return Encoded(self.classes[:count], self.derived[:count], self.features[:count])

    def feature_statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and standard deviation of each feature, `(features,)`, to standardise by.

        No deviation is below 0.001, since some features are the same for all.
        """
        return self.features.mean(dim=0), self.features.std(dim=0).clamp_min(1e-3)


def encode_all(codec: Codec, architectures: Sequence[Architecture]) -> Encoded:
    """Return architectures as tensors; channels go to the nearest rung, derived numbers do not."""
    return Encoded(
        torch.from_numpy(np.stack([codec.encode(a) for a in architectures])),
        torch.from_numpy(np.stack([codec.derived(a).astype(np.float16) for a in architectures])),
        torch.from_numpy(np.stack([features(a, codec.space) for a in architectures])),
    )


@torch.no_grad()
def encode_points(autoencoder: Autoencoder, encoded: Encoded) -> torch.Tensor:
    """Return the points of encoded architectures, `(count, dimensions)`."""
    autoencoder.eval()
    parts = [
        autoencoder.encode(
            encoded.classes[start : start + _BATCH], encoded.derived[start : start + _BATCH].float()
        )
        for start in range(0, len(encoded), _BATCH)
    ]
    return torch.cat(parts)


def sample_encoded(space: ArchitectureSpace, count: int, seed: int, *, workers: int = 1) -> Encoded:
    """Return `count` sampled nets of a space; the same for the same seed and worker count.

    The nets are distinct within a worker's share, so nearly so on the whole.
    """
    shares = [count // workers + (index < count % workers) for index in range(workers)]
    seeds = [seed * 1009 + index for index in range(workers)]
    if workers == 1:
        parts = [_sample(space, shares[0], seeds[0])]
    else:
        try:
            with worker_pool(workers) as pool:
                parts = list(pool.map(_sample, [space] * workers, shares, seeds))
        except BrokenProcessPool:
            raise ArtifactError(
                f"a process that samples {shares[0]:,} nets ended, perhaps for want of memory: "
                "use fewer --autoencoder-nets"
            ) from None
    tensors = [torch.cat([torch.from_numpy(part[k]) for part in parts]) for k in range(3)]
    return Encoded(*tensors)


def _sample(
    space: ArchitectureSpace, count: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    codec = Codec(space)
    classes, derived, facts = [], [], []
    for sample in islice(draw(prior(space), Random(seed)), count):
        classes.append(codec.encode(sample.architecture))
        derived.append(codec.derived(sample.architecture).astype(np.float16))
        facts.append(features(sample.architecture, space))
    return np.stack(classes), np.stack(derived), np.stack(facts)
