"""Plans in a process of their own."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from archpress_server.compress.effort import effort_plan
from archpress_server.compress.types import Budget, Effort, Method, Request, RequestError
from archpress_server.planner import Planner, TooLongError
from archpress_trainer.data.registry import DataSources
from archpress_trainer.embedding.bundled import artifact_folder
from archpress_trainer.space.named import named

SHAPE = (1, 28, 28)
REQUEST = Request(named("conv-7", SHAPE, 10), "fashion-mnist", Budget(max_params=90_000))


@pytest.fixture
def planner() -> Iterator[Planner]:
    planner = Planner()
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


async def test_it_has_one_thread(planner: Planner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert await planner._run(torch.get_num_threads) == 1


async def test_what_takes_too_long_is_ended(
    planner: Planner, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = await planner._run(os.getpid)
    with monkeypatch.context() as patch:
        patch.setattr("archpress_server.planner.MOST_SECONDS", 0.5)
        with pytest.raises(TooLongError, match=r"may take 0\.5 seconds, this"):
            await planner._run(time.sleep, 60)
    assert await planner._run(os.getpid) != process


async def test_a_caller_who_leaves_keeps_the_turn_until_the_work_is_done(planner: Planner) -> None:
    work = asyncio.create_task(planner._run(time.sleep, 1))
    await asyncio.sleep(0)
    work.cancel()
    await asyncio.wait([work])
    assert planner._turn.locked()
    await planner._run(os.getpid)
    assert not planner._turn.locked()


async def test_given_weights_may_reach_what_is_hopeless_without(planner: Planner) -> None:
    folder = artifact_folder("fashion-mnist")
    request = replace(REQUEST, budget=Budget(min_accuracy=1.0))
    with pytest.raises(RequestError):
        await planner.plan(request, folder, 1)
    plan = await planner.plan(request, folder, 1, given=True)
    assert any("probability of about 0%" in warning for warning in plan.warnings)


async def test_a_job_that_has_no_weights_is_refused_as_it_is_planned(planner: Planner) -> None:
    folder = artifact_folder("fashion-mnist")
    budget = Budget(max_params=20_000, min_accuracy=1.0)
    draft = replace(REQUEST, effort=Effort.DRAFT, budget=budget)
    with pytest.raises(RequestError, match="min_accuracy"):
        await planner.plan(draft, folder, 1)
    for request in (
        replace(draft, effort=Effort.STANDARD),
        replace(draft, budget=replace(budget, max_accuracy_drop=0.1)),
    ):
        plan = await planner.plan(request, folder, 1)
        assert any("what the input network brings along" in text for text in plan.warnings)


async def test_a_floor_is_judged_by_the_images_that_there_are(
    planner: Planner, sources: DataSources
) -> None:
    folder = artifact_folder("fashion-mnist")
    request = replace(REQUEST, effort=Effort.FULL, budget=Budget(90_000, min_accuracy=0.97))
    before = await planner.plan(request, folder, 1)
    await planner.dataset_facts(sources, "fashion-mnist")
    after = await planner.plan(request, folder, 1)
    assert [c.architecture for c in after.candidates] == [c.architecture for c in before.candidates]
    assert after.warnings != before.warnings
