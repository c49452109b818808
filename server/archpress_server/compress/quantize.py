"""A result with 8-bit weights and activations: static quantization and its certificate."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quant_pre_process,
    quantize_static,
)

from archpress_server.compress.certify import run_model, wilson_interval
from archpress_server.compress.export import INPUT_NAME, NORMALISE_NODES
from archpress_server.compress.latency import measure_latency
from archpress_server.compress.types import Certificate, QuantizedModel
from archpress_trainer.data.dataset import LabelledImages
from archpress_trainer.space.graph import Architecture
from archpress_trainer.training.memory import images_at_once

CALIBRATION_IMAGES = 1_000
TOLERATED_LOSS = 0.005
"""Test accuracy that quantization may cost before a warning says so."""

_BATCH = 100


def quantize(model: bytes, architecture: Architecture, train: LabelledImages) -> bytes:
    """Return an architecture's ONNX model with 8-bit activations and weights, of which 7 are used.

    The ranges of the activations are those over `CALIBRATION_IMAGES` training images of all classes
    (docs/adr/0012-int8.md). Input, normalisation and output stay float32.
    """
    images = train.subset(CALIBRATION_IMAGES).images.numpy()
    with tempfile.TemporaryDirectory() as folder:
        prepared, quantized = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
        quant_pre_process(
            onnx.load_from_string(model), prepared, skip_optimization=True, skip_symbolic_shape=True
        )
        quantize_static(
            prepared,
            quantized,
            _Batches(images, min(_BATCH, images_at_once(architecture))),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            # With all 8 bits, sums of two products overflow on CPUs without VNNI instructions.
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=list(NORMALISE_NODES),
            calibrate_method=CalibrationMethod.MinMax,
        )
        return quantized.read_bytes()


def certify_quantized(
    model: bytes,
    float_model: bytes,
    architecture: Architecture,
    test: LabelledImages,
    train: LabelledImages,
    *,
    threads: int,
) -> QuantizedModel:
    """Return a quantized model with what was measured on its bytes.

    Args:
        model: the bytes to deliver.
        float_model: what was quantized, to compare with.
        architecture: of both.
        test: the test split.
        train: the training images that `quantize` was given.
        threads: of the accuracy run; the latency is measured with one.
    """
    chosen = run_model(model, architecture, test, threads).argmax(axis=1)
    reference = run_model(float_model, architecture, test, threads).argmax(axis=1)
    accuracy = float((chosen == test.labels.numpy()).mean())
    lower, upper = wilson_interval(accuracy, len(test))
    return QuantizedModel(
        model=model,
        sha256=hashlib.sha256(model).hexdigest(),
        size_bytes=len(model),
        calibration_images=min(CALIBRATION_IMAGES, len(train)),
        test_images=len(test),
        accuracy=accuracy,
        accuracy_lower=lower,
        accuracy_upper=upper,
        argmax_agreement=float((chosen == reference).mean()),
        latency=measure_latency(model, architecture.input_shape),
        onnxruntime_version=str(onnxruntime.__version__),
    )


def quantization_warnings(quantized: QuantizedModel, certificate: Certificate) -> list[str]:
    """Return where a quantized model is not what is hoped of it, against the float model's."""
    found = []
    loss = certificate.accuracy - quantized.accuracy
    if loss > TOLERATED_LOSS:
        found.append(
            f"INT8 loses {loss:.4f} of test accuracy: {quantized.accuracy:.4f} against "
            f"{certificate.accuracy:.4f} in float"
        )
    before, after = certificate.latency.median_seconds, quantized.latency.median_seconds
    if after >= before:
        found.append(
            f"INT8 is not faster here: {1e3 * after:.3f} ms against {1e3 * before:.3f} ms in float"
        )
    if quantized.size_bytes >= certificate.size_bytes:
        found.append(
            f"the INT8 file is not smaller: {quantized.size_bytes} bytes against "
            f"{certificate.size_bytes} in float"
        )
    return found


class _Batches(CalibrationDataReader):  # type: ignore[misc]
    """Gives images in [0, 1] to the calibration, batch by batch."""

    def __init__(self, images: NDArray[np.uint8], size: int) -> None:
        self._batches = iter(np.split(images, range(size, len(images), size)))

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT_NAME: np.divide(batch, 255, dtype=np.float32)}
