"""The trained input network of a comparison, kept in a file so that it is trained once.

While it is being trained a folder beside the file has a checkpoint, from which a run goes on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from folder_checkpoints import FolderCheckpoints
from json_lines import differences
from quiet import Quiet
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from archpress_server.compress.heir import heir_widths
from archpress_server.compress.input_net import TrainedInput
from archpress_server.compress.training_run import TrainingRun, run_training
from archpress_trainer.data.dataset import LabelledImages, Normalisation, TrainingData
from archpress_trainer.space.build import Network, build
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.widths import SizeBudget
from archpress_trainer.training.device import Compute
from archpress_trainer.training.loop import Status, accuracy
from archpress_trainer.training.recipe import Recipe

EXACT = Compute(torch.device("cpu"), bfloat16=False)
"""How test accuracies are measured."""


@dataclass(frozen=True)
class InputNetwork:
    """A trained network, on the CPU and in evaluation mode, and what its training gave and cost.

    `work` is the multiply-accumulates of the training's forward passes.
    """

    network: Network
    validation: float
    test: float
    work: float
    seconds: float

    def given(self, normalisation: Normalisation) -> TrainedInput:
        """Return what `compress` takes it as."""
        return TrainedInput(self.network, normalisation, self.validation)


def input_network(
    cache: Path,
    architecture: Architecture,
    data: TrainingData,
    test: LabelledImages,
    recipe: Recipe,
    seed: int,
    compute: Compute,
) -> InputNetwork:
    """Return the network as trained by a recipe, from the cache if there is one.

    Args:
        cache: the file that keeps the weights; it is written if it is not there.
        architecture: of the network.
        data: on `compute.device` already.
        test: on the CPU; read once, after the training.
        recipe: how to train; its name makes no difference, nor what it says of teachers.
        seed: of the initial weights and the order of images.
        compute: where to train.

    Raises:
        SystemExit: the cache holds something else, which stays as it is; the message says what.
    """
    images = len(data.train)
    alone = {
        key: value
        for key, value in recipe.to_json().items()
        if key != "name" and not key.startswith("distil_")
    }
    what = json.dumps([architecture.digest, alone, images, seed])
    network = build(architecture, torch.Generator().manual_seed(seed))
    work = float(count(architecture).macs * images * recipe.epochs)
    if cache.exists():
        measured = _restored(cache, network, what)
        return InputNetwork(network.eval(), work=work, **measured)
    checkpoints = FolderCheckpoints(cache.with_suffix(".checkpoints"))
    run = TrainingRun(architecture, data, recipe, seed, compute)
    network, result = run_training(run, checkpoints, Quiet(), lambda _: True)
    if result.status is not Status.FINISHED:
        raise RuntimeError(f"the training of the input network ended so: {result.message}")
    network.to(EXACT.device)
    measured = {
        "validation": result.accuracy,
        "test": accuracy(network, test, data.normalisation, EXACT),
        "seconds": result.seconds,
    }
    cache.parent.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: value.contiguous() for name, value in network.state_dict().items()},
        cache,
        {"what": what, "measured": json.dumps(measured)},
    )
    checkpoints.clear()
    return InputNetwork(network, work=work, **measured)


def check_smaller(architecture: Architecture, max_params: int) -> None:
    """Refuse a target that is no fewer parameters than the input network has.

    Raises:
        SystemExit: says so.
    """
    params = count(architecture).params
    if max_params >= params:
        raise SystemExit(
            f"{max_params:,} parameters are no fewer than the input network's {params:,}"
        )


def check_target(architecture: Architecture, max_params: int) -> None:
    """Refuse a target to which the input network cannot be narrowed as heirs are.

    Raises:
        SystemExit: says why.
    """
    check_smaller(architecture, max_params)
    if heir_widths(architecture, SizeBudget(max_params)) is None:
        raise SystemExit(f"the input network cannot be narrowed to {max_params:,} parameters")


def _restored(cache: Path, network: Network, what: str) -> dict[str, float]:
    """Load the weights and return what was measured of them."""
    try:
        with safe_open(cache, "pt") as file:
            facts = file.metadata() or {}
            if not {"what", "measured"} <= facts.keys():
                raise SystemExit(f"{cache} does not say how its network was trained")
            other = differences(_settings(facts["what"]), _settings(what))
            if other:
                raise SystemExit(f"{cache} holds another training: {'; '.join(other)}")
            network.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except SafetensorError as error:
        raise SystemExit(f"{cache} is no file of a trained network: {error}") from None
    measured: dict[str, float] = json.loads(facts["measured"])
    return measured


def _settings(what: str) -> Mapping[str, Any]:
    digest, recipe, images, seed = json.loads(what)
    return {"network": digest, "recipe": recipe, "images": images, "seed": seed}
