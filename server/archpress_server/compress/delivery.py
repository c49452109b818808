"""`Delivery`: writes trained networks as ONNX, reopens and certifies what was written."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from archpress_server.compress.certify import certify
from archpress_server.compress.checks import size_budget
from archpress_server.compress.export import to_onnx
from archpress_server.compress.quantize import (
    certify_quantized,
    quantization_warnings,
    quantize,
)
from archpress_server.compress.retrain import Trained
from archpress_server.compress.types import (
    FrontModel,
    Observer,
    Phase,
    Progress,
    QuantizedModel,
    Request,
    StoppedError,
)
from archpress_server.logs import log_unexpected
from archpress_trainer.data.dataset import ImageDataset, TrainingData
from archpress_trainer.space.build import build
from archpress_trainer.space.costs import count


@dataclass(frozen=True)
class Delivery:
    """Turns what was trained for a request into `files` certified files, with so many threads."""

    request: Request
    dataset: ImageDataset
    data: TrainingData
    observer: Observer
    threads: int
    files: int

    def certified(self, trained: Trained, place: int, *, begins: bool) -> FrontModel:
        """Return a trained network as ONNX with its certificate; it is the file at a place.

        It `begins` the delivery unless others came before it, after which no phase comes twice.

        Raises:
            CompressionError: a check of the certificate failed.
            StoppedError: the observer asked to stop.
        """
        if begins:
            self._begin(Phase.EXPORT, 0)
        model = to_onnx(trained.network, self.data.normalisation)
        self._begin(Phase.CERTIFY, place)
        request = self.request
        limit = request.budget.max_latency_seconds if request.measures_latency else None
        certificate = certify(
            model,
            trained.network,
            self._input_model,
            self.dataset.test(),
            self.data.normalisation,
            size_budget(self.request.budget, count(self.request.architecture)),
            threads=self.threads,
            max_latency_seconds=limit,
        )
        return FrontModel(
            model=model,
            architecture=trained.network.architecture,
            costs=certificate.costs,
            prediction=trained.candidate.prediction,
            validation_accuracy=trained.candidate.validation_accuracy or 0.0,
            certificate=certificate,
        )

    def quantized(self, model: FrontModel) -> QuantizedModel | None:
        """Return an INT8 copy of a model, measured; the observer is warned of what it loses.

        None with a warning where it fails: the model itself stands.

        Raises:
            StoppedError: the observer asked to stop.
        """
        self._begin(Phase.CERTIFY, self.files - 1)
        train, test = self.data.train, self.dataset.test()
        try:
            copy = quantize(model.model, model.architecture, train)
            result = certify_quantized(
                copy, model.model, model.architecture, test, train, threads=self.threads
            )
        except Exception as error:
            error_id = log_unexpected("the INT8 copy failed", error)
            self.observer.warning(f"there is no INT8 copy: internal error {error_id}")
            return None
        for warning in quantization_warnings(result, model.certificate):
            self.observer.warning(warning)
        return result

    @cached_property
    def _input_model(self) -> bytes:
        """The input network, untrained, for its latency."""
        generator = torch.Generator().manual_seed(self.request.seed % 2**63)
        untrained = build(self.request.architecture, generator).eval()
        return to_onnx(untrained, self.data.normalisation)

    def _begin(self, phase: Phase, place: int) -> None:
        if self.observer.should_stop():
            raise StoppedError("stopped on request")
        self.observer.progress(Progress(phase, place, self.files))
