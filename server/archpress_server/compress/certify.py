"""Certification: what the delivered bytes really are, measured after reopening them."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from archpress_server.compress.export import INPUT_NAME, OPSET
from archpress_server.compress.latency import measure_latency, session
from archpress_server.compress.recount import recount
from archpress_server.compress.types import Certificate, CompressionError, Reason
from archpress_trainer.data.dataset import LabelledImages, Normalisation
from archpress_trainer.space.build import Network
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.widths import SizeBudget
from archpress_trainer.training.device import Compute
from archpress_trainer.training.loop import predict
from archpress_trainer.training.memory import images_at_once

MIN_AGREEMENT = 0.9999
"""Least share of images whose class is PyTorch's, or nearly ties with that."""
MAX_LOGIT_DIFFERENCE = 1e-3
_Z95 = 1.959964


def certify(
    model: bytes,
    network: Network,
    input_model: bytes,
    test: LabelledImages,
    normalisation: Normalisation,
    budget: SizeBudget,
    *,
    threads: int,
    max_latency_seconds: float | None = None,
) -> Certificate:
    """Return the certificate of a model, or refuse it.

    Args:
        model: the bytes to deliver.
        network: what was trained, to compare with.
        input_model: the input network as ONNX, for its latency.
        test: the test split; only measured, nothing is decided by it.
        normalisation: of the training images.
        budget: limits that the counted bytes must keep.
        threads: of the accuracy run; latencies are measured with one.
        max_latency_seconds: a limit that the caller will compare with; a latency over it is
            measured again, as `measure_latency` says.

    Raises:
        CompressionError: the file does not compute what was trained, its counts differ from the
            architecture's, or it is over the budget.
    """
    architecture = network.architecture
    costs = count(architecture)
    counted = recount(model)
    _demand(
        counted.params == costs.deployed_params and counted.macs == costs.macs,
        "counts",
        f"the file holds {counted.params} parameters and {counted.macs} MACs, the architecture "
        f"{costs.deployed_params} and {costs.macs}",
    )
    _demand(budget.holds(costs), "budget", f"{costs.params} parameters, {costs.macs} MACs")
    logits = run_model(model, architecture, test, threads)
    reference = predict(
        network,
        test.images,
        normalisation,
        Compute(torch.device("cpu"), bfloat16=False),
    ).numpy()
    difference = float(np.abs(logits - reference).max())
    chosen = logits.argmax(axis=1)
    # Large logits round coarsely, so that the bound is relative to them.
    bound = MAX_LOGIT_DIFFERENCE * max(1.0, float(np.abs(reference).max()))
    # A class whose logit is behind by less may be chosen as well: the two nearly tie.
    behind = reference.max(axis=1) - np.take_along_axis(reference, chosen[:, None], axis=1)[:, 0]
    agreement = float((chosen == reference.argmax(axis=1)).mean())
    nearly = float((behind <= bound).mean())
    _demand(
        nearly >= MIN_AGREEMENT and difference <= bound,
        "parity",
        f"argmax agreement {agreement:.5f}, with near ties {nearly:.5f}, "
        f"largest logit difference {difference:.2e}",
    )
    accuracy = _accuracy(logits, test)
    lower, upper = wilson_interval(accuracy, len(test))
    input_latency = measure_latency(input_model, architecture.input_shape)
    return Certificate(
        sha256=hashlib.sha256(model).hexdigest(),
        size_bytes=len(model),
        params_on_bytes=counted.params,
        costs=costs,
        test_images=len(test),
        accuracy=accuracy,
        accuracy_lower=lower,
        accuracy_upper=upper,
        argmax_agreement=agreement,
        max_abs_logit_difference=difference,
        latency=measure_latency(model, architecture.input_shape, limit_seconds=max_latency_seconds),
        input_latency=input_latency,
        opset=OPSET,
        onnxruntime_version=str(onnxruntime.__version__),
        torch_version=str(torch.__version__),
    )


def wilson_interval(share: float, trials: int) -> tuple[float, float]:
    """Return the 95% Wilson score interval of a share observed in so many trials."""
    square = _Z95**2
    centre = (share + square / (2 * trials)) / (1 + square / trials)
    half = (
        _Z95
        * math.sqrt(share * (1 - share) / trials + square / (4 * trials**2))
        / (1 + square / trials)
    )
    # Rounding must not leave the share itself outside.
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def onnx_accuracy(
    model: bytes, architecture: Architecture, test: LabelledImages, threads: int
) -> float:
    """Return the accuracy of an architecture's model over all test images, by ONNX Runtime."""
    return _accuracy(run_model(model, architecture, test, threads), test)


def _accuracy(logits: NDArray[np.float32], test: LabelledImages) -> float:
    return float((logits.argmax(axis=1) == test.labels.numpy()).mean())


def run_model(
    model: bytes, architecture: Architecture, images: LabelledImages, threads: int
) -> NDArray[np.float32]:
    """Return the logits of an architecture's ONNX model by ONNX Runtime."""
    runner, size = session(model, threads), images_at_once(architecture)
    parts = []
    for start in range(0, len(images), size):
        batch = images.images[start : start + size].numpy().astype(np.float32) / 255
        parts.append(runner.run(None, {INPUT_NAME: batch})[0])
    return np.concatenate(parts)


def _demand(holds: bool, check: str, found: str) -> None:
    if not holds:
        raise CompressionError(
            Reason.CERTIFICATION_FAILED,
            f"the certificate's check of {check} failed: {found}",
            metadata={"check": check},
        )
