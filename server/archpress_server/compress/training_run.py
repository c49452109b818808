"""One training of a compression, which another attempt continues or takes over as it ended."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

from archpress_server.compress.checkpoints import CheckpointStore
from archpress_server.compress.types import Observer
from archpress_trainer.data.dataset import TrainingData
from archpress_trainer.space.build import Network, build
from archpress_trainer.space.graph import Architecture
from archpress_trainer.training.device import Compute
from archpress_trainer.training.inheritance import narrowed
from archpress_trainer.training.loop import Status, Step, TrainResult, train
from archpress_trainer.training.recipe import Recipe
from archpress_trainer.training.snapshot import SnapshotError, pack, unpack
from archpress_trainer.training.teaching import Teacher

_VERSION = 1


@dataclass(frozen=True)
class TrainingRun:
    """What is trained how: equal runs give equal networks.

    `data` is on the device. A network with a `start` begins with the strongest channels of that,
    which is wider and trained. Where the network is not `wanted`, only how the training ended is
    kept for another attempt, and the network that comes with it is untrained.
    """

    architecture: Architecture
    data: TrainingData
    recipe: Recipe
    seed: int
    compute: Compute
    teacher: Teacher | None = None
    start: Network | None = None
    evaluate_every: int = 0
    wanted: bool = True

    @property
    def name(self) -> str:
        """A name that no other training of the same compression has."""
        record = {
            "version": _VERSION,
            "architecture": self.architecture.digest,
            "images": len(self.data.train),
            "recipe": self.recipe.to_json(),
            "seed": self.seed,
            "taught": self.teacher is not None,
            "started": self.start is not None,
            "evaluate_every": self.evaluate_every,
            "wanted": self.wanted,
        }
        digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
        return f"training-{digest[:32]}"


def run_training(
    run: TrainingRun,
    checkpoints: CheckpointStore,
    observer: Observer,
    observe: Callable[[Step], bool],
) -> tuple[Network, TrainResult]:
    """Train, go on with what an earlier attempt began, or return what it ended with.

    A checkpoint that cannot be used is told to the observer, and the training starts anew.
    """
    name = run.name
    content = checkpoints.load(name)
    try:
        finished = None if content is None else _finished(run, content)
        if finished is not None:
            return finished
        return _train(run, name, content, checkpoints, observe)
    except SnapshotError as error:
        observer.warning(f"a training starts anew, since its checkpoint cannot be used: {error}")
    return _train(run, name, None, checkpoints, observe)


def _train(
    run: TrainingRun,
    name: str,
    snapshot: bytes | None,
    checkpoints: CheckpointStore,
    observe: Callable[[Step], bool],
) -> tuple[Network, TrainResult]:
    network, generator = _untrained(run)

    def checkpoint(take: Callable[[], bytes]) -> None:
        if checkpoints.due():
            checkpoints.save(name, take())

    result = train(
        network,
        run.data,
        run.recipe,
        generator,
        run.compute,
        teacher=run.teacher,
        observer=observe,
        evaluate_every=run.evaluate_every,
        resume=snapshot,
        checkpoint=checkpoint,
    )
    if result.status is not Status.STOPPED:
        tensors = network.state_dict() if run.wanted else {}
        checkpoints.save(name, pack(tensors, {"version": _VERSION, "result": asdict(result)}))
    return network, result


def _finished(run: TrainingRun, content: bytes) -> tuple[Network, TrainResult] | None:
    """Return what a training ended with, if the content is of a finished one."""
    tensors, record = unpack(content)
    if "result" not in record:
        return None
    try:
        values = record["result"]
        result = TrainResult(
            **{**values, "status": Status(values["status"]), "curve": tuple(values["curve"])}
        )
        network, _ = _untrained(run)
        if run.wanted:
            # As after a training: another layout in memory computes other last bits.
            network.to(memory_format=torch.channels_last).load_state_dict(tensors)
        return network.eval(), result
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise SnapshotError(f"the result does not fit: {error}") from error


def _untrained(run: TrainingRun) -> tuple[Network, torch.Generator]:
    generator = torch.Generator().manual_seed(run.seed % 2**63)
    if run.start is None:
        return build(run.architecture, generator), generator
    return narrowed(run.start, run.architecture), generator
