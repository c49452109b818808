"""What all samplers share: drawing valid, distinct architectures and counting the rejects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from archpress_trainer.space.architecture_space import ArchitectureSpace
from archpress_trainer.space.costs import Costs
from archpress_trainer.space.errors import ArchitectureError
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layer import Layer
from archpress_trainer.space.vocab import LayerKind


class SamplerExhaustedError(RuntimeError):
    """A sampler that found nothing valid and new in many draws in a row."""


class Sampler(Protocol):
    """Proposes layer lists for a space; a proposal may be invalid."""

    @property
    def space(self) -> ArchitectureSpace:
        """The space that the proposals are meant for."""
        ...

    def propose(self, rng: Random) -> list[Layer]:
        """Draw one list of layers."""
        ...


@dataclass
class Sample:
    """A drawn architecture with its costs."""

    architecture: Architecture
    costs: Costs


@dataclass
class Rejections:
    """How many proposals were made and why some were refused."""

    proposals: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


def draw(
    sampler: Sampler,
    rng: Random,
    *,
    rejections: Rejections | None = None,
    patience: int = 100_000,
) -> Iterator[Sample]:
    """Yield valid, distinct architectures of the sampler's space for ever.

    The sequence depends on the sampler and the state of `rng` only.

    Raises:
        SamplerExhaustedError: `patience` proposals in a row were refused.
    """
    rejections = rejections if rejections is not None else Rejections()
    seen: set[str] = set()
    failures = 0
    while failures < patience:
        rejections.proposals += 1
        failures += 1
        result = examine(sampler.space, sampler.propose(rng))
        if isinstance(result, str):
            rejections.reasons[result] += 1
        elif result.architecture.digest in seen:
            rejections.reasons["duplicate"] += 1
        else:
            failures = 0
            seen.add(result.architecture.digest)
            yield result
    raise SamplerExhaustedError(
        f"no new valid architecture in {patience} proposals; rejected: {dict(rejections.reasons)}"
    )


def examine(space: ArchitectureSpace, layers: list[Layer]) -> Sample | str:
    """Return the sample that a proposal makes, or the reason why it is refused."""
    if not any(layer.kind is LayerKind.CONVOLUTION for layer in layers):
        return "no convolution"
    try:
        architecture = Architecture(space.input_shape, space.classes, tuple(layers))
    except ArchitectureError as error:
        return _reason(error)
    outside = space.violations(architecture)
    if outside:
        return f"outside the space: {outside[0].field}"
    return Sample(architecture, architecture.costs)


def _reason(error: ArchitectureError) -> str:
    fault = error.violations[0]
    if "vanishes" in fault.reason:
        return "output vanishes"
    if "needs a feature map" in fault.reason:
        return "feature map needed after a linear layer"
    if fault.field == "padding":
        return "pool padding over half its kernel"
    return f"invalid {fault.field}"
