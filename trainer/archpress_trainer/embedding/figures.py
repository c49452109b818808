"""`FigureData`: what the fit of an embedding leaves for its report, as a JSON file of its artifact.

It holds what cannot be computed again from the weights and the population: the loss curves, the
predictions of members that had not seen a net, the unseen nets' reconstruction, the rejections.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from archpress_trainer.embedding.manifest import ArtifactError

FIGURES_FILE = "figures.json"


@dataclass(frozen=True)
class FitCurves:
    """The curves of a fit: at each of `iterations` one value of every named loss."""

    iterations: tuple[int, ...] = ()
    losses: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the lengths."""
        for name, values in self.losses.items():
            _same_length(f"fit.losses.{name}", values, self.iterations)


@dataclass(frozen=True)
class HeldOutNets:
    """Labelled nets with what was predicted for them by fits that had not seen them.

    `index` is their number in the population; `measured` and `predicted` are accuracies in
    [0, 1]; `half_width` is that of the 90% interval, in logits.
    """

    index: tuple[int, ...] = ()
    measured: tuple[float, ...] = ()
    predicted: tuple[float, ...] = ()
    half_width: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check lengths and ranges."""
        for name in ("measured", "predicted", "half_width"):
            _same_length(f"held_out.{name}", getattr(self, name), self.index)
        for name in ("measured", "predicted"):
            _within(f"held_out.{name}", getattr(self, name), 0, 1)
        _within("held_out.half_width", self.half_width, 0, math.inf)


@dataclass(frozen=True)
class FigureData:
    """The data of a report's figures; a part that is empty has no figure.

    `reconstruction` is the share of unseen nets whose field came back right, by field;
    `rejections` counts the sampler's refused proposals by reason.
    """

    fit: FitCurves = field(default_factory=FitCurves)
    held_out: HeldOutNets = field(default_factory=HeldOutNets)
    reconstruction: Mapping[str, float] = field(default_factory=dict)
    rejections: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the ranges."""
        _within("reconstruction", self.reconstruction.values(), 0, 1)
        _within("rejections", self.rejections.values(), 0, math.inf)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> FigureData:
        """Inverse of `to_json`; parts and fields that are not known are passed over.

        Raises:
            AttributeError, OverflowError, TypeError, ValueError: it is not such data.
        """
        fit, held_out = record.get("fit") or {}, record.get("held_out") or {}
        losses = {name: _floats(values) for name, values in fit.get("losses", {}).items()}
        curves = [
            _floats(held_out.get(name, ())) for name in ("measured", "predicted", "half_width")
        ]
        shares, counts = record.get("reconstruction") or {}, record.get("rejections") or {}
        return cls(
            FitCurves(_ints(fit.get("iterations", ())), losses),
            HeldOutNets(_ints(held_out.get("index", ())), *curves),
            {name: _float(share) for name, share in shares.items()},
            {reason: _int(count) for reason, count in counts.items()},
        )


def write_figures(folder: Path, figures: FigureData) -> Path:
    """Write the data into a folder and return the path of the file.

    Raises:
        ArtifactError: not all of it are numbers.
    """
    path = folder / FIGURES_FILE
    try:
        text = json.dumps(figures.to_json(), allow_nan=False)
    except ValueError as error:
        raise ArtifactError(
            "the fit of the embedding came to values that are no numbers: fit it to more nets, or "
            "with another seed"
        ) from error
    path.write_text(text + "\n")
    return path


def read_figures(folder: Path) -> FigureData | None:
    """Return the data of an artifact's figures, None where it has none.

    Raises:
        ArtifactError: the file is damaged.
    """
    path = folder / FIGURES_FILE
    try:
        return FigureData.from_json(json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, AttributeError, OverflowError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{path} is damaged ({error}); remove it to report without it"
        ) from error


def _floats(values: Iterable[Any]) -> tuple[float, ...]:
    return tuple(_float(value) for value in values)


def _ints(values: Iterable[Any]) -> tuple[int, ...]:
    return tuple(_int(value) for value in values)


def _float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    if not math.isfinite(value):
        raise ValueError(f"{value!r} is not finite")
    return float(value)


def _int(value: Any) -> int:
    number = _float(value)
    if not number.is_integer():
        raise ValueError(f"{value!r} is not a whole number")
    return int(number)


def _same_length(name: str, values: tuple[float, ...], others: tuple[int, ...]) -> None:
    if len(values) != len(others):
        raise ValueError(f"{name} has {len(values)} values, {len(others)} are needed")


def _within(name: str, values: Iterable[float], low: float, high: float) -> None:
    for value in values:
        if not low <= value <= high:
            raise ValueError(f"{name} holds {value!r}, which is not from {low} to {high}")
