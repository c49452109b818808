"""Jobs and results, as the client hands them out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from archpress_client._latency_table import LatencyTable
from archpress_client._network import Network


class JobState(StrEnum):
    """Where a job is in its life."""

    UNKNOWN = "unknown"
    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether a job in this state never changes again."""
        return self in {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}


class Phase(StrEnum):
    """The step a running job is at; a job passes them in this order."""

    UNKNOWN = "unknown"
    VALIDATE = "validate"
    DESCEND = "descend"
    DECODE = "decode"
    RETRAIN = "retrain"
    EXPORT = "export"
    CERTIFY = "certify"


class Effort(StrEnum):
    """How much work a job may put into training."""

    UNKNOWN = "unknown"
    """One of a newer server; it cannot be asked for."""
    DRAFT = "draft"
    STANDARD = "standard"
    FULL = "full"


class Method(StrEnum):
    """Which embedding, search and recipe: what measured best, or the paper's."""

    UNKNOWN = "unknown"
    """One of a newer server; it cannot be asked for."""
    DEFAULT = "default"
    PAPER = "paper"


@dataclass(frozen=True, slots=True)
class Costs:
    """What a network costs for one image: exact, from its layers alone."""

    params: int
    macs: int
    deployed_params: int
    """Parameters of the delivered file, batch normalizations folded."""
    peak_activation_bytes: int


@dataclass(frozen=True, slots=True)
class Interval:
    """A two-sided interval."""

    lower: float
    upper: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """Limits for the result; None means no limit."""

    max_params: int | None = None
    max_params_ratio: float | None = None
    """Fraction of the input network's parameters."""
    max_macs: int | None = None
    max_macs_ratio: float | None = None
    """Fraction of the input network's multiply-accumulates."""
    max_latency_seconds: float | None = None
    """For one image: by the specification's latency table, or else the median on the worker with
    one thread."""
    min_accuracy: float | None = None
    """On the test split, 0 to 1."""
    max_accuracy_drop: float | None = None
    """Against the input network; 0.01 is one point."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobSpec:
    """What to compress, for which data, down to what."""

    network: str | Network
    """A name that the server knows, `artifacts/{id}`, or layers."""
    dataset: str
    budget: Budget = Budget()
    effort: Effort = Effort.DRAFT
    method: Method = Method.DEFAULT
    seed: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    max_run_time_seconds: float | None = None
    max_queue_time_seconds: float | None = None
    priority: int = 0
    latency_table: LatencyTable | None = None
    """The caller's own device, which the budget's latency then is about."""
    pareto_models: int = 1
    """Most models of different sizes, 1 to 8; the budget is that of the largest."""
    int8: bool = False
    """Whether the result is wanted with 8-bit weights and activations too."""
    training_seeds: int = 1
    """Full trainings of the result, 1 to 8, of which the best on validation images is delivered."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Waypoint:
    """What the embedding predicts where the descents stand: medians over all of them."""

    predicted_accuracy: float
    expected_params: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a job is; what a step is depends on the phase."""

    phase: Phase
    step: int
    total_steps: int
    """0 while unknown."""
    loss: float | None
    accuracy: float | None
    """On the validation split."""
    eta_seconds: float | None
    """Until the trainings end."""
    message: str
    waypoint: Waypoint | None
    """In the phase of the descent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A network that the method proposes."""

    network: Network
    costs: Costs
    predicted_accuracy: float | None
    """None where the embedding cannot read the network; only the narrowed input may be such."""
    predicted_interval: Interval | None
    """90% interval of the prediction."""
    validation_accuracy: float | None
    """Where the candidate was trained."""
    chosen: bool
    rank: int
    inherits: bool
    """Whether it is the input network with narrower layers, starting from the weights of that."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """How fast a network runs in ONNX Runtime on the CPU that certified it."""

    median_seconds: float
    p10_seconds: float
    p90_seconds: float
    threads: int
    batch_size: int
    runs: int
    cpu_name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificate:
    """What was measured on the delivered bytes, after writing and reopening them."""

    sha256: str
    size_bytes: int
    params_on_bytes: int
    costs: Costs
    test_images: int
    accuracy: float
    accuracy_interval: Interval | None
    """95% interval for this many images."""
    argmax_agreement: float
    """Fraction of images for which ONNX Runtime and PyTorch choose the same class."""
    max_abs_logit_difference: float
    latency: Latency | None
    input_latency: Latency | None
    opset: int
    onnxruntime_version: str
    torch_version: str


class Model(Protocol):
    """A network that a job delivers: `Result`, `FrontModel` or `QuantizedModel`."""

    @property
    def artifact(self) -> str:
        """Its name on the server."""

    @property
    def sha256(self) -> str:
        """Of the ONNX file."""


class ModelSource(Protocol):
    """Fetches the bytes of models."""

    def save(self, model: Model, path: Path) -> None:
        """Write a model to a file."""

    def read(self, model: Model) -> bytes:
        """Return a model's bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UploadedModel:
    """An ONNX model that the server has taken."""

    artifact: str
    """Its name, for `Client.compress`."""
    sha256: str
    size_bytes: int
    network: Network
    """The layers that the server found in it."""
    costs: Costs
    display_name: str
    expire_time: datetime | None
    """When the server removes it, unless a job needs it then."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FrontModel:
    """One of a job's trained networks of different sizes."""

    artifact: str
    network: Network
    costs: Costs
    certificate: Certificate
    predicted_accuracy: float | None
    predicted_interval: Interval | None
    validation_accuracy: float
    """After training; each model of a front is better than every smaller one."""
    _source: ModelSource = field(repr=False, compare=False)

    @property
    def accuracy(self) -> float:
        """Accuracy of the delivered file on the whole test split."""
        return self.certificate.accuracy

    @property
    def sha256(self) -> str:
        """Of the ONNX file."""
        return self.certificate.sha256

    def save(self, path: str | Path) -> None:
        """Write the network as an ONNX file, whole and verified or not at all."""
        self._source.save(self, Path(path))

    def model_bytes(self) -> bytes:
        """Return the network as the verified bytes of an ONNX file."""
        return self._source.read(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizedModel:
    """A result with 8-bit weights and activations, and what was measured on its bytes."""

    artifact: str
    sha256: str
    size_bytes: int
    calibration_images: int
    """Training images that gave the ranges of the activations."""
    test_images: int
    accuracy: float
    """On the whole test split."""
    accuracy_interval: Interval
    """95% interval for this many images."""
    argmax_agreement: float
    """Fraction of images for which the float model chooses the same class."""
    latency: Latency | None
    onnxruntime_version: str
    _source: ModelSource = field(repr=False, compare=False)

    def save(self, path: str | Path) -> None:
        """Write the network as an ONNX file, whole and verified or not at all."""
        self._source.save(self, Path(path))

    def model_bytes(self) -> bytes:
        """Return the network as the verified bytes of an ONNX file."""
        return self._source.read(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What a job delivers."""

    artifact: str
    network: Network
    costs_before: Costs
    costs_after: Costs
    accuracy_before: float | None
    """Of the input network, where it was measured."""
    certificate: Certificate
    predicted_accuracy: float | None
    predicted_interval: Interval | None
    budget_met: bool
    nearest_budget: Budget | None
    """The budget loosened until this result meets it, where it does not."""
    run_time_seconds: float
    embedding: str
    optimism: float | None
    """Mean predicted minus measured accuracy of the candidates, where both are of one kind."""
    front: tuple[FrontModel, ...] = ()
    """The models of all sizes, largest first, this result among them; empty unless asked for."""
    int8: QuantizedModel | None = None
    seed_accuracies: tuple[float, ...] = ()
    """On validation images, of every full training of the result that finished."""
    _source: ModelSource = field(repr=False, compare=False)

    @property
    def accuracy(self) -> float:
        """Accuracy of the delivered file on the whole test split."""
        return self.certificate.accuracy

    @property
    def sha256(self) -> str:
        """Of the ONNX file."""
        return self.certificate.sha256

    @property
    def is_slower(self) -> bool:
        """Whether the multiply-accumulates fell but the latency measured on the server did not."""
        old, new = self.certificate.input_latency, self.certificate.latency
        if old is None or new is None or self.costs_after.macs >= self.costs_before.macs:
            return False
        return new.median_seconds >= old.median_seconds

    def save(self, path: str | Path) -> None:
        """Write the trained network as an ONNX file, whole and verified or not at all."""
        self._source.save(self, Path(path))

    def model_bytes(self) -> bytes:
        """Return the trained network as the verified bytes of an ONNX file."""
        return self._source.read(self)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job failed."""

    reason: str
    message: str
    metadata: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One request for compression and what became of it."""

    name: str
    state: JobState
    spec: JobSpec
    progress: Progress | None
    result: Result | None
    error: Failure | None
    create_time: datetime | None
    start_time: datetime | None
    end_time: datetime | None
    expire_time: datetime | None
    attempt: int
    last_seq: int
    queue_position: int
    """1 is next; 0 when it is not queued."""
    cached_result: bool
    """Whether the result is that of an equal job before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a job would consider: candidates, best first, without training."""

    costs_before: Costs
    candidates: tuple[Candidate, ...]
    embedding: str
    duration_seconds: float
    warnings: tuple[str, ...]
    heir: Candidate | None = None
    """The input network with narrower layers, a further candidate: it starts from the weights of an
    uploaded model, or those that `Effort.STANDARD` and `Effort.FULL` train, else from nothing."""
