"""Plans in a process of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archpress_server.compress.effort import effort_plan
from archpress_server.compress.types import Budget, Effort, Method, Request
from archpress_server.planner import Planner
from archpress_trainer.data.registry import DataSources
from archpress_trainer.embedding.bundled import artifact_folder
from archpress_trainer.space.named import named

SHAPE = (1, 28, 28)
REQUEST = Request(named("conv-7", SHAPE, 10), "fashion-mnist", Budget(max_params=90_000))


@pytest.fixture
def planner() -> Iterator[Planner]:
    planner = Planner(1)
    yield planner
    planner.close()


@pytest.fixture
def sources(tmp_path: Path) -> DataSources:
    """As many blank images as Fashion-MNIST has."""
    path = tmp_path / "blank.npz"
    arrays: dict[str, Any] = {}
    for part, count in (("train", 60_000), ("test", 100)):
        arrays[f"x_{part}"] = np.zeros((count, *SHAPE[1:]), dtype=np.uint8)
        arrays[f"y_{part}"] = np.arange(count) % 10
    np.savez_compressed(path, **arrays)
    return DataSources(files={"fashion-mnist": path}, download=False)


async def most_macs(planner: Planner, request: Request) -> int:
    plan = await planner.plan(request, artifact_folder("fashion-mnist"), 4)
    return max(candidate.costs.macs for candidate in plan.candidates)


async def test_a_draft_is_planned_for_what_it_can_train(
    planner: Planner, sources: DataSources
) -> None:
    free = await most_macs(planner, REQUEST)
    facts = await planner.dataset_facts(sources, "fashion-mnist")
    assert facts is not None
    draft = effort_plan(Effort.DRAFT, Method.DEFAULT, "fashion-mnist", SHAPE)
    most = draft.affordable_macs(facts.train_images)
    assert most is not None
    assert await most_macs(planner, REQUEST) <= most < free
