"""All that a training needs to go on later as if it had never stopped, as bytes.

They are safetensors with a JSON record in their metadata: reading them executes nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from archpress_trainer.training.out_of_memory import is_out_of_memory
from archpress_trainer.training.teaching import Lesson

_VERSION = 1
_RECORD = "archpress"


class SnapshotError(ValueError):
    """The bytes are damaged, of another version, or of another training."""


@dataclass
class Place:
    """Where a training stands; `epoch` is the one under way, counted from 1.

    `draws` is the state of the generator of batches when the epoch began, `losses` are those of its
    steps so far, `started` is the time of the start on `time.perf_counter`.
    """

    draws: torch.Tensor
    epoch: int = 1
    step: int = 0
    losses: list[torch.Tensor] = field(default_factory=list)
    loss_sum: float = 0.0
    curve: list[float] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True)
class TrainingState:
    """The parts of a training that change. `key` is JSON that says which training it is."""

    key: Mapping[str, Any]
    network: nn.Module
    averaged: nn.Module | None
    optimizer: torch.optim.Optimizer
    taught: Lesson | None
    draws: torch.Generator

    def save(self, place: Place) -> bytes:
        """Return a snapshot; the training goes on undisturbed."""
        record = {
            "version": _VERSION,
            "key": self.key,
            "epoch": place.epoch,
            "step": place.step,
            "loss_sum": place.loss_sum,
            "curve": place.curve,
            "seconds": time.perf_counter() - place.started,
        }
        tensors = {
            **dict(self._values()),
            **dict(self._optimizer_values()),
            "draws": place.draws,
            "losses": torch.stack(place.losses) if place.losses else torch.empty(0),
            "random": torch.get_rng_state(),
        }
        if self._on_gpu:
            tensors["random_gpu"] = torch.cuda.get_rng_state(self.draws.device)
        return pack(tensors, record)

    def restore(self, snapshot: bytes) -> Place:
        """Put all parts into the state of a snapshot and return where the training stood.

        Raises:
            SnapshotError: it is none of this training; parts may have been changed.
        """
        tensors, record = unpack(snapshot)
        if record.get("version") != _VERSION:
            raise SnapshotError(f"the snapshot has version {record.get('version')}")
        # As JSON has it: without tuples.
        if record.get("key") != json.loads(json.dumps(self.key)):
            raise SnapshotError("the snapshot is of another training")
        try:
            self._restore_values(tensors)
            self._restore_optimizer(tensors)
            self.draws.set_state(tensors["draws"])
            torch.set_rng_state(tensors["random"])
            if self._on_gpu:
                torch.cuda.set_rng_state(tensors["random_gpu"], self.draws.device)
            return Place(
                draws=tensors["draws"],
                epoch=int(record["epoch"]),
                step=int(record["step"]),
                losses=list(tensors["losses"].to(self.draws.device)),
                loss_sum=float(record["loss_sum"]),
                curve=[float(accuracy) for accuracy in record["curve"]],
                started=time.perf_counter() - float(record["seconds"]),
            )
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            # What a device says of itself is no fault of the snapshot.
            if is_out_of_memory(error) or isinstance(error, torch.AcceleratorError):
                raise
            raise SnapshotError(f"the snapshot does not fit: {error}") from error

    @property
    def _on_gpu(self) -> bool:
        return self.draws.device.type == "cuda"

    def _values(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the tensors that are changed in place, with their names."""
        for name, value in self.network.state_dict().items():
            yield f"network.{name}", value
        if self.averaged is not None:
            for name, value in self.averaged.state_dict().items():
                yield f"averaged.{name}", value
        if self.taught is not None:
            for name, value in self.taught.memory().items():
                yield f"taught.{name}", value

    def _restore_values(self, tensors: Mapping[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, value in self._values():
                saved = tensors[name]
                if saved.shape != value.shape:
                    raise ValueError(f"{name} has shape {tuple(saved.shape)}")
                # In place, so that each keeps its layout in memory.
                value.copy_(saved)

    def _optimizer_values(self) -> Iterator[tuple[str, torch.Tensor]]:
        for index, state in self.optimizer.state_dict()["state"].items():
            for name, value in state.items():
                if value is not None:
                    yield f"optimizer.{index}.{name}", value

    def _restore_optimizer(self, tensors: Mapping[str, torch.Tensor]) -> None:
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        state: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in tensors.items():
            kind, _, rest = key.partition(".")
            if kind != "optimizer":
                continue
            index, _, name = rest.partition(".")
            like = parameters[int(index)]
            if value.shape == like.shape:
                # With the parameter's layout: another one is summed in another order.
                value = torch.empty_like(like, requires_grad=False).copy_(value)
            state.setdefault(int(index), {})[name] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})


def pack(tensors: Mapping[str, torch.Tensor], record: Mapping[str, Any]) -> bytes:
    """Return tensors and a JSON record as one file of safetensors."""
    flat = {name: value.detach().contiguous() for name, value in tensors.items()}
    return bytes(save(flat, {_RECORD: json.dumps(record)}))


def unpack(content: bytes) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Inverse of `pack`; the tensors are on the CPU.

    Raises:
        SnapshotError: the bytes are not what `pack` made.
    """
    try:
        tensors = load(content)
        # The library reads metadata from files only: a length, then JSON.
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        record = json.loads(header["__metadata__"][_RECORD])
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise SnapshotError(f"the bytes are damaged: {error}") from error
    if not isinstance(record, dict):
        raise SnapshotError("the bytes are damaged: no record")
    return tensors, record
