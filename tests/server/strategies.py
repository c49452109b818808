"""What hypothesis draws: networks, budgets, latency tables, specifications."""

from __future__ import annotations

from random import Random

from hypothesis import strategies as st

from archpress_server.compress.latency_table import LatencyTable, LayerLatency
from archpress_server.compress.types import (
    Budget,
    Effort,
    Method,
    Request,
)
from archpress_server.jobs.model import (
    JobSpec,
)
from archpress_trainer.space.architecture_space import ArchitectureSpace
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.named import NAMED, named
from archpress_trainer.space.practical_sampler import PracticalSampler, Window
from archpress_trainer.space.sampling import draw
from archpress_trainer.space.vocab import LayerKind

fractions = st.floats(0.0, 1.0)
budgets = st.builds(
    Budget,
    max_params=st.none() | st.integers(0, 2**63 - 1),
    max_params_ratio=st.none() | fractions,
    max_macs=st.none() | st.integers(0, 2**63 - 1),
    max_macs_ratio=st.none() | fractions,
    max_latency_seconds=st.none() | st.integers(0, 10**12).map(lambda n: n / 1e9),
    min_accuracy=st.none() | fractions,
    max_accuracy_drop=st.none() | fractions,
)


def sampled(seed: int) -> Architecture:
    sampler = PracticalSampler(ArchitectureSpace((1, 28, 28), 10), Window(2_000, 500_000))
    return next(iter(draw(sampler, Random(seed)))).architecture


architectures = st.integers(0, 10**6).map(sampled) | st.sampled_from(sorted(NAMED)).map(
    lambda name: named(name, (3, 32, 32), 10)
)
seconds_each = st.floats(0.0, 1.0)
tables = st.builds(
    LatencyTable,
    layers=st.lists(
        st.builds(
            LayerLatency,
            kind=st.sampled_from(LayerKind),
            kernel=st.none() | st.integers(1, 31),
            fixed_seconds=seconds_each,
            seconds_per_mac=seconds_each,
            seconds_per_output=seconds_each,
        ),
        max_size=3,
    ).map(tuple),
    fixed_seconds=seconds_each,
)
specs = st.builds(
    JobSpec,
    request=st.builds(
        Request,
        architecture=architectures,
        dataset=st.text(),
        budget=budgets,
        effort=st.sampled_from(Effort),
        method=st.sampled_from(Method),
        seed=st.integers(0, 2**64 - 1),
        latency_table=st.none() | tables,
        pareto_models=st.integers(1, 8),
        int8=st.booleans(),
        training_seeds=st.integers(1, 8),
    ),
    embedding=st.text(),
    network=st.text(),
    labels=st.dictionaries(st.text(), st.text()),
    priority=st.integers(-100, 100),
    max_run_time_seconds=st.floats(1, 1e5),
    max_queue_time_seconds=st.none() | st.floats(0, 1e5),
)
