"""The population on disk: torn and damaged lines, and specs that do not match."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from archpress_trainer.data.registry import DataSources
from archpress_trainer.embedding.record import Record, population_digest
from archpress_trainer.population.executor import Task
from archpress_trainer.population.records import PopulationStore
from archpress_trainer.population.spec import PopulationError, PopulationSpec
from archpress_trainer.training.fidelity import Fidelity
from tests.trainer.population.helpers import record_of, tiny_spec


@pytest.fixture(scope="module")
def spec(tiny_sources: DataSources) -> PopulationSpec:
    return tiny_spec(tiny_sources)


@pytest.fixture(scope="module")
def records(spec: PopulationSpec) -> list[Record]:
    return [record_of(Task(i, sample)) for i, sample in enumerate(spec.samples(5))]


@pytest.fixture
def store(spec: PopulationSpec, records: list[Record], tmp_path: Path) -> PopulationStore:
    store = PopulationStore(tmp_path / "population")
    store.open(spec)
    for record in (records[3], records[0], records[4]):
        store.append(record)
    return store


def test_records_come_back_by_index(store: PopulationStore, records: list[Record]) -> None:
    assert store.records() == [records[0], records[3], records[4]]


def test_a_record_keeps_every_field(records: list[Record]) -> None:
    record = replace(records[1], status="failed", message="no memory", curve=(0.1, 0.25))
    assert Record.from_json(json.loads(record.to_line())) == record
    assert not record.is_labelled
    assert records[1].is_labelled


def test_an_empty_folder_has_no_records(tmp_path: Path) -> None:
    assert PopulationStore(tmp_path).records() == []


@pytest.mark.parametrize("lost", [1, 2, 40, 400])
def test_a_torn_last_line_is_dropped(
    lost: int, store: PopulationStore, spec: PopulationSpec, records: list[Record]
) -> None:
    content = store.records_path.read_bytes()
    store.records_path.write_bytes(content[:-lost])
    assert store.records() == [records[0], records[3]]
    store.open(spec)
    assert store.records_path.read_bytes() == content[: content.rfind(b"\n", 0, -1) + 1]
    store.append(records[2])
    assert store.records() == [records[0], records[2], records[3]]


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b"7", b"null", b'{"index": 1}', b"\xff\xfe", b"", b'{"architecture": 1}']
)
def test_a_damaged_middle_line_is_refused(line: bytes, store: PopulationStore) -> None:
    lines = store.records_path.read_bytes().split(b"\n")
    lines[1] = line
    store.records_path.write_bytes(b"\n".join(lines))
    with pytest.raises(PopulationError, match="line 2 is damaged") as caught:
        store.records()
    assert "\n" not in str(caught.value)


def test_a_record_with_an_impossible_net_is_refused(store: PopulationStore) -> None:
    content = store.records_path.read_bytes().replace(b'"kernel":3', b'"kernel":99', 1)
    store.records_path.write_bytes(content)
    with pytest.raises(PopulationError, match=r"line 1 is damaged: layers\[\d+\].kernel"):
        store.records()


def test_a_net_that_occurs_twice_is_refused(store: PopulationStore, records: list[Record]) -> None:
    store.append(records[0])
    with pytest.raises(PopulationError, match="line 4: net 0 occurs twice"):
        store.records()


def test_the_same_spec_opens_again(store: PopulationStore, spec: PopulationSpec) -> None:
    store.open(spec)
    assert store.spec() == spec


def test_another_spec_is_refused_with_what_differs(
    store: PopulationStore, spec: PopulationSpec
) -> None:
    other = replace(spec, seed=1, fidelity=Fidelity(99, 9), max_macs=7)
    before = store.records_path.read_bytes()
    with pytest.raises(PopulationError) as caught:
        store.open(other)
    assert "(it differs in fidelity, max_macs, seed)" in str(caught.value)
    assert store.records_path.read_bytes() == before


def test_another_space_or_recipe_is_refused(store: PopulationStore, spec: PopulationSpec) -> None:
    with pytest.raises(PopulationError, match=r"differs in space, space_digest\)"):
        store.open(replace(spec, space=replace(spec.space, max_layers=20)))
    with pytest.raises(PopulationError, match=r"differs in recipe\)"):
        store.open(replace(spec, recipe=replace(spec.recipe, momentum=0.5)))


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", "{}", '{"space": null, "fidelity": {}, "recipe": {}}']
)
def test_a_damaged_spec_is_one_line(content: str, store: PopulationStore) -> None:
    path = store.folder / "population.json"
    path.write_text(content)
    with pytest.raises(PopulationError, match="is damaged") as caught:
        store.spec()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_population_says_so(tmp_path: Path) -> None:
    with pytest.raises(PopulationError, match="holds no population"):
        PopulationStore(tmp_path).spec()


def test_the_digest_is_of_nets_and_labels(records: list[Record]) -> None:
    digest = population_digest(records)
    assert population_digest(records[::-1]) == digest
    assert population_digest([replace(r, seconds=9.0) for r in records]) == digest
    assert population_digest(records[1:]) != digest
    assert population_digest([replace(records[0], accuracy=0.123), *records[1:]]) != digest
    swapped = replace(records[0], architecture=records[1].architecture)
    assert population_digest([swapped, *records[1:]]) != digest
