"""Compressions that are interrupted and end with the bytes of one that was not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from archpress_server.compress.effort import EffortPlan
from archpress_server.compress.pipeline import compress
from archpress_server.compress.types import (
    Budget,
    Compression,
    Request,
)
from archpress_trainer.data.registry import DataSources
from archpress_trainer.embedding.artifact import load
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layers import batch_norm, conv, global_average_pool, linear, relu
from archpress_trainer.training.device import Compute
from archpress_trainer.training.recipe import Recipe
from archpress_trainer.training.snapshot import pack, unpack
from tests.server.compress.recorder import Recorder

pytestmark = pytest.mark.slow

NET = Architecture(
    (1, 12, 12), 4, (conv(32, 3), batch_norm(), relu(), global_average_pool(), linear(4))
)
FINAL = Recipe("final", 3, batch_size=32, learning_rate=0.1, average_decay=0.9, distil_weight=0.5)
SHORT = EffortPlan(
    trained_candidates=3,
    round_recipe=Recipe("round", 1, batch_size=32, learning_rate=0.1),
    round_images=200,
    final_recipe=FINAL,
    teaches=True,
)
REQUEST = Request(NET, "tiny", Budget(max_params=600), pareto_models=2, training_seeds=2)


class Killed(BaseException):
    """Stands for a process that is gone."""


@dataclass
class Memory:
    """A store whose process is killed after so many snapshots, of which each third step has one."""

    parts: dict[str, bytes] = field(default_factory=dict)
    snapshots_left: float = float("inf")
    steps: int = 0
    loaded: int = 0

    def load(self, part: str) -> bytes | None:
        self.loaded += part in self.parts
        return self.parts.get(part)

    def save(self, part: str, content: bytes) -> None:
        self.parts[part] = content

    def due(self) -> bool:
        self.steps += 1
        if self.snapshots_left < 0:
            raise Killed
        if self.steps % 3:
            return False
        self.snapshots_left -= 1
        return True


@dataclass(frozen=True)
class Compressing:
    """The same compression again and again."""

    folder: Path
    sources: DataSources
    compute: Compute

    def __call__(self, store: Memory, recorder: Recorder) -> Compression:
        return compress(
            REQUEST,
            load(self.folder),
            self.sources.load("tiny"),
            recorder,
            threads=1,
            effort=SHORT,
            compute=self.compute,
            checkpoints=store,
        )


@pytest.fixture(scope="module")
def compressing(tiny_embedding: Path, tiny_sources: DataSources, cpu: Compute) -> Compressing:
    return Compressing(tiny_embedding, tiny_sources, cpu)


@pytest.fixture(scope="module")
def undisturbed(compressing: Compressing) -> tuple[Compression, Memory]:
    """A compression from start to end, and what it kept."""
    store = Memory()
    return compressing(store, Recorder()), store


def assert_same(result: Compression, other: Compression) -> None:
    models, others = ([m.model for m in c.front] for c in (result, other))
    assert models == others
    assert result.model == other.model
    assert result.seed_accuracies == other.seed_accuracies
    assert result.accuracy_before == other.accuracy_before


def anew(recorder: Recorder) -> list[str]:
    return [text for text in recorder.warnings if "starts anew" in text]


def test_many_attempts_make_the_models_of_one(
    compressing: Compressing, undisturbed: tuple[Compression, Memory]
) -> None:
    whole, kept = undisturbed
    store = Memory()
    attempts = 0
    result = None
    while result is None:
        attempts += 1
        store = Memory(store.parts, snapshots_left=17)
        recorder = Recorder()
        try:
            result = compressing(store, recorder)
        except Killed:
            assert attempts < 100
        assert not anew(recorder)
    assert attempts > 5
    assert_same(result, whole)
    assert store.parts.keys() == kept.parts.keys()


def test_what_is_done_is_not_done_again(
    compressing: Compressing, undisturbed: tuple[Compression, Memory]
) -> None:
    whole, kept = undisturbed
    store = Memory(dict(kept.parts))
    recorder = Recorder()
    assert_same(compressing(store, recorder), whole)
    assert store.steps == 0
    assert store.loaded == len(kept.parts)
    trained = [c for c in recorder.candidates if c.validation_accuracy is not None]
    assert len(trained) > 2


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _age(content: bytes) -> bytes:
    tensors, record = unpack(content)
    return pack(tensors, {**record, "version": 0, "result": {}})


DAMAGES: list[Callable[[bytes], bytes]] = [_cut, _age, lambda _: b"", lambda _: b"\x80\x04N."]


def test_damaged_or_old_checkpoints_cost_their_work_and_no_more(
    compressing: Compressing, undisturbed: tuple[Compression, Memory]
) -> None:
    whole, kept = undisturbed
    recorder = Recorder()
    trainings = [part for part in kept.parts if part.startswith("training-")]
    assert len(trainings) >= len(DAMAGES)
    store = Memory({"candidates": b""})
    for place, part in enumerate(trainings):
        store.parts[part] = DAMAGES[place % len(DAMAGES)](kept.parts[part])
    assert_same(compressing(store, recorder), whole)
    assert len(anew(recorder)) == len(trainings)
    assert store.parts.keys() == kept.parts.keys()


def test_a_training_of_another_request_is_not_taken(
    compressing: Compressing, undisturbed: tuple[Compression, Memory]
) -> None:
    _, kept = undisturbed
    other = Memory()
    compress(
        replace(REQUEST, seed=7),
        load(compressing.folder),
        compressing.sources.load("tiny"),
        Recorder(),
        threads=1,
        effort=SHORT,
        compute=compressing.compute,
        checkpoints=other,
    )
    assert set(kept.parts) & set(other.parts) == {"candidates"}
