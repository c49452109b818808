"""`PopulationSpec`: JSON, and the nets that it names."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from archpress_trainer.data.registry import DataSources
from archpress_trainer.population.spec import PopulationError, PopulationSpec
from archpress_trainer.space.architecture_space import paper_space
from archpress_trainer.space.sampling import Rejections
from tests.trainer.population.helpers import tiny_spec


def test_json_round_trip(tiny_sources: DataSources) -> None:
    spec = tiny_spec(tiny_sources, seed=4)
    record = json.loads(json.dumps(spec.to_json()))
    assert PopulationSpec.from_json(record) == spec
    assert record["space_digest"] == spec.space.digest


def test_the_nets_are_the_same_each_time_and_a_longer_list_goes_on(
    tiny_sources: DataSources,
) -> None:
    spec = tiny_spec(tiny_sources)
    few = [s.architecture for s in spec.samples(10)]
    many = [s.architecture for s in spec.samples(25)]
    assert many[:10] == few
    assert len({a.digest for a in many}) == 25
    assert [s.architecture for s in replace(spec, seed=1).samples(10)] != few


def test_costs_are_bounded(tiny_sources: DataSources) -> None:
    spec = replace(tiny_spec(tiny_sources), max_macs=300_000, max_activation_bytes=20_000)
    for sample in spec.samples(30):
        assert sample.costs.macs <= 300_000
        assert sample.costs.peak_activation_bytes <= 20_000
        assert spec.space.contains(sample.architecture)


def test_the_papers_sampler(tiny_sources: DataSources) -> None:
    base = tiny_spec(tiny_sources)
    space = paper_space(base.space.input_shape, base.space.classes)
    spec = replace(base, sampler="paper", space=space)
    rejections = Rejections()
    nets = list(spec.samples(3, rejections))
    assert all(space.contains(sample.architecture) for sample in nets)
    assert rejections.proposals > 3


def test_an_unknown_sampler(tiny_sources: DataSources) -> None:
    spec = replace(tiny_spec(tiny_sources), sampler="bayes")
    with pytest.raises(PopulationError, match="unknown sampler 'bayes'"):
        list(spec.samples(1))
