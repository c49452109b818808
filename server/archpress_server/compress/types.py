"""What goes into a compression and what comes out, free of wire formats and storage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from archpress_server.compress.latency_table import LatencyTable
from archpress_trainer.embedding.prediction import Prediction
from archpress_trainer.space.costs import Costs
from archpress_trainer.space.graph import Architecture


class Effort(StrEnum):
    """How much work may go into training the result."""

    DRAFT = "draft"
    STANDARD = "standard"
    FULL = "full"


class Method(StrEnum):
    """Which embedding, search and recipe: what measured best, or the paper's."""

    DEFAULT = "default"
    PAPER = "paper"


class Phase(StrEnum):
    """The step that a compression is at, in this order."""

    VALIDATE = "validate"
    DESCEND = "descend"
    DECODE = "decode"
    RETRAIN = "retrain"
    EXPORT = "export"
    CERTIFY = "certify"


class Reason(StrEnum):
    """Why a request is refused or a compression fails; the names of the API's ErrorReason."""

    INVALID_ARCHITECTURE = "INVALID_ARCHITECTURE"
    UNKNOWN_DATASET = "UNKNOWN_DATASET"
    UNKNOWN_NETWORK = "UNKNOWN_NETWORK"
    INVALID_BUDGET = "INVALID_BUDGET"
    BUDGET_INFEASIBLE = "BUDGET_INFEASIBLE"
    SHAPE_MISMATCH = "SHAPE_MISMATCH"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    INVALID_FIELD = "INVALID_FIELD"
    NO_EMBEDDING = "NO_EMBEDDING"
    BUDGET_UNREACHABLE = "BUDGET_UNREACHABLE"
    TRAINING_DIVERGED = "TRAINING_DIVERGED"
    CERTIFICATION_FAILED = "CERTIFICATION_FAILED"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One fault of a request: the field's path from the specification, and what is wrong."""

    path: str
    description: str
    reason: Reason


class RequestError(ValueError):
    """A request that is refused before any work, with every violation found."""

    def __init__(
        self, violations: tuple[FieldViolation, ...], metadata: Mapping[str, str] | None = None
    ) -> None:
        """Keep the violations; `metadata` holds what helps a program, such as known names."""
        self.violations = violations
        self.metadata = dict(metadata or {})
        super().__init__("; ".join(f"{v.path}: {v.description}" for v in violations))

    def __reduce__(
        self,
    ) -> tuple[type[RequestError], tuple[tuple[FieldViolation, ...], dict[str, str]]]:
        """Pickle by what it was made of, so that the error crosses process borders."""
        return type(self), (self.violations, self.metadata)

    @property
    def reason(self) -> Reason:
        """The first violation's reason, which stands for all."""
        return self.violations[0].reason


class CompressionError(RuntimeError):
    """A compression that failed after it was accepted."""

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        best: Compression | None = None,
        nearest_budget: Budget | None = None,
    ) -> None:
        """Keep the reason, the best result there is and the nearest budget that it meets."""
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.best = best
        self.nearest_budget = nearest_budget
        super().__init__(message)


class StoppedError(RuntimeError):
    """The observer asked to stop."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits for the result; None is unset. Sizes and MACs are hard, checked on exact counts."""

    max_params: int | None = None
    max_params_ratio: float | None = None
    max_macs: int | None = None
    max_macs_ratio: float | None = None
    max_latency_seconds: float | None = None
    min_accuracy: float | None = None
    max_accuracy_drop: float | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What to compress, for which data set, down to what.

    `pareto_models` is the most models of different sizes that are wanted, the budget being that of
    the largest; `int8` asks for a quantized copy of the result. `training_seeds` is how often each
    result is trained in full, the best on validation images being delivered.
    """

    architecture: Architecture
    dataset: str
    budget: Budget = field(default_factory=Budget)
    effort: Effort = Effort.DRAFT
    method: Method = Method.DEFAULT
    seed: int = 0
    latency_table: LatencyTable | None = None
    """The caller's own device, on which `max_latency_seconds` then holds."""
    pareto_models: int = 1
    int8: bool = False
    training_seeds: int = 1

    @property
    def measures_latency(self) -> bool:
        """Whether a latency is asked for that is measured here, not by the caller's table."""
        return self.budget.max_latency_seconds is not None and self.latency_table is None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A valid architecture within the hard budgets; `rank` is its place in their order, from 1.

    One that `inherits` is the input network with narrower layers, and its full training starts from
    the weights of that; its prediction is that of a training from scratch. The prediction is None
    for the narrowed input network where the embedding cannot read such networks.
    """

    architecture: Architecture
    costs: Costs
    prediction: Prediction | None
    rank: int
    validation_accuracy: float | None = None
    chosen: bool = False
    inherits: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            "architecture": self.architecture.to_json(),
            "costs": asdict(self.costs),
            "prediction": self.prediction and asdict(self.prediction),
            "rank": self.rank,
            "validation_accuracy": self.validation_accuracy,
            "chosen": self.chosen,
            "inherits": self.inherits,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Candidate:
        """Inverse of `to_json`."""
        return cls(
            **{
                **record,
                "architecture": Architecture.from_json(record["architecture"]),
                "costs": Costs(**record["costs"]),
                "prediction": record["prediction"] and Prediction(**record["prediction"]),
            }
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """Candidates for a request, in the order in which they are tried, without training.

    The `heir` is one more: the input network with narrower layers, which starts from the weights of
    that where a job has them, and else from nothing.
    """

    costs_before: Costs
    candidates: tuple[Candidate, ...]
    embedding: str
    seconds: float
    warnings: tuple[str, ...] = ()
    heir: Candidate | None = None


@dataclass(frozen=True, slots=True)
class Waypoint:
    """What is predicted where the descents stand: medians of accuracy and expected parameters."""

    accuracy: float
    params: float


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a compression is; `total_steps` 0 while unknown."""

    phase: Phase
    step: int = 0
    total_steps: int = 0
    loss: float | None = None
    accuracy: float | None = None
    eta_seconds: float | None = None
    message: str = ""
    waypoint: Waypoint | None = None


@dataclass(frozen=True, slots=True)
class Latency:
    """Time of one batch in ONNX Runtime: median and 10th, 90th percentile over `runs`."""

    median_seconds: float
    p10_seconds: float
    p90_seconds: float
    threads: int
    batch_size: int
    runs: int
    cpu_name: str


@dataclass(frozen=True, slots=True)
class Certificate:
    """What was measured on the delivered bytes, reopened."""

    sha256: str
    size_bytes: int
    params_on_bytes: int
    costs: Costs
    test_images: int
    accuracy: float
    accuracy_lower: float
    accuracy_upper: float
    argmax_agreement: float
    max_abs_logit_difference: float
    latency: Latency
    input_latency: Latency
    opset: int
    onnxruntime_version: str
    torch_version: str


@dataclass(frozen=True, slots=True)
class FrontModel:
    """One of the trained networks of different sizes, as ONNX bytes."""

    model: bytes
    architecture: Architecture
    costs: Costs
    prediction: Prediction | None
    validation_accuracy: float
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class QuantizedModel:
    """A network with 8-bit weights and activations as ONNX bytes, and what they were found to be.

    `argmax_agreement` is that with the float model over the test split.
    """

    model: bytes
    sha256: str
    size_bytes: int
    calibration_images: int
    test_images: int
    accuracy: float
    accuracy_lower: float
    accuracy_upper: float
    argmax_agreement: float
    latency: Latency
    onnxruntime_version: str


@dataclass(frozen=True, slots=True)
class Compression:
    """The result: the trained network as ONNX bytes and everything known about it.

    `front` holds the models of all sizes, the result first, where several were asked for.
    """

    model: bytes
    architecture: Architecture
    costs_before: Costs
    costs_after: Costs
    prediction: Prediction | None
    validation_accuracy: float
    certificate: Certificate
    embedding: str
    budget_met: bool
    seconds: float
    accuracy_before: float | None = None
    """Of the input network on the test split, where it was measured."""
    optimism: float | None = None
    """Mean predicted minus measured accuracy of the candidates, where they were trained as the
    embedding's labels were."""
    front: tuple[FrontModel, ...] = ()
    int8: QuantizedModel | None = None
    seed_accuracies: tuple[float, ...] = ()
    """On validation images, of every full training of the result that finished."""


class Observer(Protocol):
    """Follows a compression and may stop it."""

    def progress(self, progress: Progress) -> None:
        """Be told how far it is; called often, so it should return at once."""
        ...

    def candidate(self, candidate: Candidate) -> None:
        """Be told of a candidate that was found, trained or chosen."""
        ...

    def warning(self, text: str) -> None:
        """Be told something that the caller should know."""
        ...

    def should_stop(self) -> bool:
        """Return whether to give up; the compression then raises `StoppedError`."""
        ...
