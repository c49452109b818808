"""What is predicted of a network that the embedding can read."""

from __future__ import annotations

from archpress_server.compress.types import Candidate, Compression
from archpress_trainer.embedding.prediction import Prediction


def predicted(network: Candidate | Compression) -> Prediction:
    assert network.prediction is not None
    return network.prediction
