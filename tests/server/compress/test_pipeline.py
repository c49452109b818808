"""`compress` from a request to certified bytes, with real training on a small data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from archpress_server.compress import delivery, latency, latency_budget
from archpress_server.compress.certify import certify
from archpress_server.compress.conditions import Conditions
from archpress_server.compress.effort import EffortPlan
from archpress_server.compress.export import INPUT_NAME
from archpress_server.compress.input_net import TrainedInput, given_input, train_input
from archpress_server.compress.latency import Timer, session
from archpress_server.compress.latency_model import FittedLatency
from archpress_server.compress.pipeline import compress
from archpress_server.compress.recount import recount
from archpress_server.compress.types import (
    Budget,
    Certificate,
    Compression,
    CompressionError,
    Phase,
    Reason,
    Request,
    RequestError,
    StoppedError,
)
from archpress_trainer.data.registry import DataSources
from archpress_trainer.embedding.artifact import load
from archpress_trainer.space.build import build
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layers import batch_norm, conv, linear, max_pool, relu
from archpress_trainer.space.vocab import LayerKind
from archpress_trainer.training.device import Compute
from archpress_trainer.training.recipe import Recipe, population_recipe
from tests.server.compress.predicted import predicted
from tests.server.compress.recorder import Recorder
from tests.trainer.nets import residual_net, small_net

NET = small_net(32, second=32)
SHORT = EffortPlan(
    trained_candidates=2,
    round_recipe=Recipe("round", 1, batch_size=32, learning_rate=0.1),
    round_images=200,
    final_recipe=Recipe("final", 12, batch_size=16, learning_rate=0.1, average_decay=0.9),
)
BRIEF = replace(SHORT, final_recipe=replace(SHORT.final_recipe, epochs=1))


def run(
    request: Request,
    folder: Path,
    sources: DataSources,
    cpu: Compute,
    recorder: Recorder,
    effort: EffortPlan = SHORT,
) -> Compression:
    return compress(
        request,
        load(folder),
        sources.load("tiny"),
        recorder,
        threads=1,
        effort=effort,
        compute=cpu,
    )


def test_a_request_becomes_a_small_certified_model(
    tiny_embedding: Path, tiny_sources: DataSources, cpu: Compute
) -> None:
    recorder = Recorder()
    request = Request(NET, "tiny", Budget(max_params=3_000))
    result = run(request, tiny_embedding, tiny_sources, cpu, recorder)
    assert result.budget_met
    assert result.certificate.params_on_bytes <= result.costs_after.params <= 3_000
    # Four classes; the tiny embedding knows too little to find good nets, but they learn.
    assert result.certificate.accuracy > 0.5
    # The delivered bytes alone give the certified accuracy.
    test = tiny_sources.load("tiny").test()
    images = test.images.numpy().astype(np.float32) / 255
    logits = session(result.model, 1).run(None, {INPUT_NAME: images})[0]
    accuracy = float((logits.argmax(axis=1) == test.labels.numpy()).mean())
    assert accuracy == pytest.approx(result.certificate.accuracy)
    phases = list(dict.fromkeys(progress.phase for progress in recorder.seen))
    assert phases == list(Phase)
    chosen = [candidate for candidate in recorder.candidates if candidate.chosen]
    assert [candidate.architecture for candidate in chosen] == [result.architecture]
    assert chosen[0].validation_accuracy == result.validation_accuracy


def test_a_network_with_skips_becomes_one_of_its_space(
    tiny_residual_embedding: Path, tiny_sources: DataSources, cpu: Compute
) -> None:
    recorder = Recorder()
    request = Request(residual_net(24), "tiny", Budget(max_params=4_000))
    result = run(request, tiny_residual_embedding, tiny_sources, cpu, recorder)
    assert result.budget_met
    assert result.certificate.params_on_bytes <= result.costs_after.params <= 4_000
    assert result.certificate.accuracy > 0.5
    assert result.certificate.argmax_agreement > 0.99
    candidates = [candidate.architecture for candidate in recorder.candidates]
    assert any(not candidate.is_chain for candidate in candidates)


def test_the_best_of_several_seeds_is_delivered(
    tiny_embedding: Path, tiny_sources: DataSources, cpu: Compute
) -> None:
    request = Request(NET, "tiny", Budget(max_params=300), training_seeds=3)
    recorder = Recorder()
    result = run(request, tiny_embedding, tiny_sources, cpu, recorder)
    once = run(replace(request, training_seeds=1), tiny_embedding, tiny_sources, cpu, Recorder())
    assert len(result.seed_accuracies) == 3
    assert len(set(result.seed_accuracies)) > 1
    assert result.validation_accuracy == max(result.seed_accuracies)
    assert once.seed_accuracies == result.seed_accuracies[:1]
    assert [c.validation_accuracy for c in recorder.candidates if c.chosen] == [
        result.validation_accuracy
    ]
    steps = [p.step for p in recorder.seen if p.phase is Phase.RETRAIN]
    assert steps == sorted(steps)
    assert steps[-1] == 1000


@pytest.mark.parametrize("phase", [Phase.DESCEND, Phase.RETRAIN])
def test_it_stops_when_asked(
    tiny_embedding: Path, tiny_sources: DataSources, cpu: Compute, phase: Phase
) -> None:
    request = Request(NET, "tiny", Budget(max_params=3_000))
    recorder = Recorder(stop_in=phase)
    with pytest.raises(StoppedError):
        run(request, tiny_embedding, tiny_sources, cpu, recorder)
    assert recorder.seen[-1].phase is phase


def test_a_missed_accuracy_floor_keeps_the_best_model(
    tiny_embedding: Path, tiny_sources: DataSources, cpu: Compute
) -> None:
    request = Request(NET, "tiny", Budget(max_params=200, min_accuracy=0.8))
    with pytest.raises(CompressionError) as error:
        run(request, tiny_embedding, tiny_sources, cpu, recorder := Recorder())
    assert error.value.reason is Reason.BUDGET_UNREACHABLE
    assert any("probability of about" in warning for warning in recorder.warnings)
    best, nearest = error.value.best, error.value.nearest_budget
    assert best is not None
    assert nearest is not None
    assert not best.budget_met
    assert best.costs_after.params <= 200
    assert nearest.min_accuracy == best.certificate.accuracy < 0.8


def test_a_floor_that_the_given_weights_reach_is_not_refused(
    tiny_embedding: Path, tiny_sources: DataSources, cpu: Compute
) -> None:
    layers = (conv(16, 3), batch_norm(), relu(), max_pool(), linear(4))
    network = Architecture((1, 12, 12), 4, layers)
    budget = Budget(max_params_ratio=0.9, min_accuracy=0.99)
    embedding, dataset = load(tiny_embedding), tiny_sources.load("tiny")
    effort = replace(SHORT, final_recipe=replace(SHORT.final_recipe, epochs=8, learning_rate=0.05))
    source = train_input(network, Conditions(dataset.split(), effort, 0, cpu, Recorder()))

    def run_from(given: TrainedInput | None, recorder: Recorder) -> Compression:
        return compress(
            Request(network, "tiny", budget),
            embedding,
            dataset,
            recorder,
            threads=1,
            effort=effort,
            compute=cpu,
            input_network=given,
        )

    with pytest.raises(RequestError, match="min_accuracy"):
        run_from(None, Recorder())
    result = run_from(source, recorder := Recorder())
    assert result.certificate.accuracy >= 0.99
    assert any("leaving out what the input network" in text for text in recorder.warnings)


def test_a_drop_is_measured_against_the_input_trained_alike(
    tiny_embedding: Path, tiny_sources: DataSources, cpu: Compute
) -> None:
    recorder = Recorder()
    loose = Request(NET, "tiny", Budget(max_params=3_000, max_accuracy_drop=1.0))
    result = run(loose, tiny_embedding, tiny_sources, cpu, recorder)
    assert result.accuracy_before is not None
    assert 0.25 < result.accuracy_before <= 1.0
    assert any(progress.message.startswith("input network") for progress in recorder.seen)
    tight = replace(loose, budget=Budget(max_params=60, max_accuracy_drop=0.0))
    with pytest.raises(CompressionError) as error:
        run(tight, tiny_embedding, tiny_sources, cpu, Recorder())
    assert error.value.reason is Reason.BUDGET_UNREACHABLE
    best, nearest = error.value.best, error.value.nearest_budget
    assert best is not None
    assert nearest is not None
    assert best.accuracy_before == result.accuracy_before
    drop = best.accuracy_before - best.certificate.accuracy
    assert nearest == replace(tight.budget, max_accuracy_drop=drop)


def test_an_effort_that_teaches_trains_the_input_unless_it_is_given(
    tiny_embedding: Path, tiny_sources: DataSources, cpu: Compute
) -> None:
    final = replace(SHORT.final_recipe, epochs=3, distil_weight=0.9, distil_temperature=2.0)
    teaching = replace(SHORT, teaches=True, final_recipe=final)
    request = Request(NET, "tiny", Budget(max_params=3_000))
    dataset = tiny_sources.load("tiny")

    def teach(effort: EffortPlan, source: TrainedInput | None) -> tuple[Compression, Recorder]:
        recorder = Recorder()
        result = compress(
            request,
            load(tiny_embedding),
            dataset,
            recorder,
            threads=1,
            effort=effort,
            compute=cpu,
            input_network=source,
        )
        return result, recorder

    trained, recorder = teach(teaching, None)
    assert trained.accuracy_before is not None
    assert any(progress.message.startswith("input network") for progress in recorder.seen)
    source = train_input(NET, Conditions(dataset.split(), teaching, request.seed, cpu, Recorder()))
    before = [parameter.clone() for parameter in source.network.parameters()]
    given, recorder = teach(teaching, source)
    assert given.model == trained.model
    assert given.accuracy_before == trained.accuracy_before
    assert not any(progress.message.startswith("input network") for progress in recorder.seen)
    assert all(torch.equal(a, b) for a, b in zip(source.network.parameters(), before, strict=True))
    always, _ = teach(replace(teaching, teaches=False), source)
    assert always.model == given.model
    alone, _ = teach(replace(teaching, teaches=False), None)
    assert alone.model != given.model


def test_a_network_that_nothing_predicts_has_an_heir(
    tiny_embedding: Path, tiny_sources: DataSources, cpu: Compute
) -> None:
    embedding, dataset = load(tiny_embedding), tiny_sources.load("tiny")
    block = (conv(16, 1), batch_norm(), relu())
    layers = (conv(16, 3), *block * embedding.manifest.space.max_layers, max_pool(), linear(4))
    network = Architecture((1, 12, 12), 4, layers)
    weights = build(network, torch.Generator().manual_seed(0)).eval()
    source = TrainedInput(weights, dataset.split().normalisation, 1.0)
    brief = replace(SHORT, final_recipe=replace(SHORT.final_recipe, epochs=1))
    recorder = Recorder()
    result = compress(
        Request(network, "tiny", Budget(max_params_ratio=0.3)),
        embedding,
        dataset,
        recorder,
        threads=1,
        effort=brief,
        compute=cpu,
        input_network=source,
    )
    heirs = [candidate for candidate in recorder.candidates if candidate.inherits]
    assert [heir.prediction for heir in heirs] == [None, None]
    assert heirs[-1].validation_accuracy is not None
    assert (result.prediction is None) == heirs[-1].chosen


def test_weights_that_know_nothing_are_not_used(
    tiny_embedding: Path, tiny_sources: DataSources, cpu: Compute
) -> None:
    final = replace(SHORT.final_recipe, epochs=3, distil_weight=0.9, distil_temperature=2.0)
    effort = replace(SHORT, final_recipe=final)
    dataset = tiny_sources.load("tiny")
    # Predictions of the tiny embedding may be no better than a guess either.
    ignorant = given_input(build(NET), None, dataset.split(), cpu)
    recorders = Recorder(), Recorder()
    given, alone = (
        compress(
            Request(NET, "tiny", Budget(max_params=3_000)),
            load(tiny_embedding),
            dataset,
            recorder,
            threads=1,
            effort=effort,
            compute=cpu,
            input_network=source,
        )
        for recorder, source in zip(recorders, (ignorant, None), strict=True)
    )
    assert given.model == alone.model
    assert any("weights are not used" in text for text in recorders[0].warnings)


def test_an_input_that_diverges_is_told(
    tiny_embedding: Path, tiny_sources: DataSources, cpu: Compute
) -> None:
    wild = replace(SHORT, final_recipe=Recipe("final", 2, batch_size=16, learning_rate=1e30))
    request = Request(NET, "tiny", Budget(max_params=3_000, max_accuracy_drop=0.1))
    with pytest.raises(CompressionError, match="input network diverged") as error:
        compress(
            request,
            load(tiny_embedding),
            tiny_sources.load("tiny"),
            Recorder(),
            threads=1,
            effort=wild,
            compute=cpu,
        )
    assert error.value.reason is Reason.TRAINING_DIVERGED


_SECONDS_PER_MAC = 1e-9
_RATES = (0.0, _SECONDS_PER_MAC, 0.0)
BY_MACS = FittedLatency(
    0.0, 8, {(kind,): _RATES for kind in (LayerKind.CONVOLUTION, LayerKind.LINEAR)}, 0.0
)


class _ByMacs(Timer):
    """Stands for the clock of a machine on which a MAC takes a nanosecond, and nothing else."""

    def __init__(self, model: bytes, input_shape: tuple[int, int, int]) -> None:
        self._seconds = recount(model).macs * _SECONDS_PER_MAC

    def seconds(self, runs: int) -> list[float]:
        return [self._seconds] * runs


def test_the_certified_network_keeps_to_the_latency(
    tiny_embedding: Path, tiny_sources: DataSources, cpu: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "Timer", _ByMacs)
    monkeypatch.setattr(latency_budget, "calibrate", lambda _: BY_MACS)
    before = count(NET).macs * _SECONDS_PER_MAC
    most = 0.3 * before
    request = Request(NET, "tiny", Budget(max_params=3_000, max_latency_seconds=most))
    recorder = Recorder()
    result = run(request, tiny_embedding, tiny_sources, cpu, recorder, BRIEF)
    assert all(c.costs.macs * _SECONDS_PER_MAC <= most for c in recorder.candidates)
    after = count(result.architecture).macs * _SECONDS_PER_MAC
    assert result.certificate.latency.median_seconds == pytest.approx(after)
    assert result.certificate.input_latency.median_seconds == pytest.approx(before)


@pytest.fixture
def uncalibrated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare a test the calibration, which takes seconds: a limit of one second binds nobody."""
    monkeypatch.setattr(latency_budget, "calibrate", lambda _: BY_MACS)


@pytest.mark.usefixtures("uncalibrated")
def test_a_network_that_certifies_too_slow_gives_way_to_the_next(
    tiny_embedding: Path, tiny_sources: DataSources, cpu: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder, certified = Recorder(), []

    def slow(*arguments: Any, **options: Any) -> Certificate:
        found = certify(*arguments, **options)
        certified.append(found)
        latency = replace(found.latency, median_seconds=9.0)
        return replace(found, latency=latency) if len(certified) <= slow_ones else found

    monkeypatch.setattr(delivery, "certify", slow)
    request = Request(NET, "tiny", Budget(max_params=3_000, max_latency_seconds=1.0))
    slow_ones = 1
    result = run(request, tiny_embedding, tiny_sources, cpu, recorder, BRIEF)
    assert len(certified) == 2
    assert any("next candidate" in warning for warning in recorder.warnings)
    assert result.certificate == certified[1]
    chosen = [candidate for candidate in recorder.candidates if candidate.chosen]
    assert [candidate.architecture for candidate in chosen] == [result.architecture]
    assert recorder.candidates[-1] == chosen[0]
    certified.clear()
    slow_ones = 2
    with pytest.raises(CompressionError) as error:
        run(request, tiny_embedding, tiny_sources, cpu, Recorder(), BRIEF)
    assert error.value.reason is Reason.BUDGET_UNREACHABLE
    assert error.value.metadata == {"max_latency": "9.000000000s"}
    assert error.value.best is not None
    assert error.value.nearest_budget == replace(request.budget, max_latency_seconds=9.0)


def test_without_weights_the_narrowed_input_is_a_candidate_of_the_rounds(
    tiny_embedding: Path, tiny_sources: DataSources, cpu: Compute
) -> None:
    recorder = Recorder()
    run(Request(NET, "tiny", Budget(max_params=3_000)), tiny_embedding, tiny_sources, cpu, recorder)
    last = SHORT.trained_candidates + 1
    shape = [layer.kind for layer in NET.layers]
    narrowed = [c for c in recorder.candidates if c.rank == last]
    assert [layer.kind for layer in narrowed[0].architecture.layers] == shape
    assert any(c.validation_accuracy is not None for c in narrowed)
    assert not any(c.inherits for c in recorder.candidates)


@pytest.mark.usefixtures("uncalibrated")
def test_a_next_candidate_without_weights_starts_from_nothing(
    tiny_embedding: Path, tiny_sources: DataSources, cpu: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*arguments: Any, **options: Any) -> Certificate:
        found = certify(*arguments, **options)
        return replace(found, latency=replace(found.latency, median_seconds=9.0))

    monkeypatch.setattr(delivery, "certify", slow)
    dataset = tiny_sources.load("tiny")
    ignorant = replace(given_input(build(NET), None, dataset.split(), cpu), validation_accuracy=0.0)
    recorder = Recorder()
    with pytest.raises(CompressionError) as error:
        compress(
            Request(NET, "tiny", Budget(max_params=3_000, max_latency_seconds=1.0)),
            load(tiny_embedding),
            dataset,
            recorder,
            threads=1,
            effort=replace(BRIEF, trained_candidates=1),
            compute=cpu,
            input_network=ignorant,
        )
    assert error.value.reason is Reason.BUDGET_UNREACHABLE
    planned, trained = recorder.candidates[:2], recorder.candidates[2:]
    assert [c.inherits for c in planned] == [False, True]
    assert {c.rank for c in trained} == {1, 2}
    best = error.value.best
    assert best is not None
    assert [c.architecture for c in trained if c.chosen] == [best.architecture]
    assert not any(c.inherits for c in trained)


def test_optimism_is_told_where_rounds_are_as_labels(
    tiny_embedding: Path, tiny_sources: DataSources, cpu: Compute
) -> None:
    embedding = load(tiny_embedding)
    fidelity = embedding.manifest.fidelity
    as_labels = replace(
        SHORT,
        round_recipe=population_recipe(fidelity.epochs),
        round_images=fidelity.train_images,
        final_recipe=replace(SHORT.final_recipe, epochs=1),
    )
    recorder = Recorder()
    request = Request(NET, "tiny", Budget(max_params=3_000))
    result = compress(
        request,
        embedding,
        tiny_sources.load("tiny"),
        recorder,
        threads=1,
        effort=as_labels,
        compute=cpu,
    )
    trained = [c for c in recorder.candidates if c.validation_accuracy is not None and not c.chosen]
    differences = [predicted(c).accuracy - (c.validation_accuracy or 0.0) for c in trained]
    assert len(trained) == SHORT.trained_candidates + 1
    assert result.optimism == pytest.approx(sum(differences) / len(trained))


@pytest.mark.parametrize("affordable", [60_000, 10], ids=["possible", "impossible"])
def test_candidates_can_be_trained_for_all_epochs_where_there_are_such(
    tiny_embedding: Path, tiny_sources: DataSources, cpu: Compute, affordable: int
) -> None:
    dataset = tiny_sources.load("tiny")
    brief = replace(SHORT.final_recipe, epochs=1)
    work = affordable * len(dataset.split().train) + 1.0
    effort = replace(SHORT, final_recipe=brief, final_work_macs=work)
    recorder = Recorder()
    request = Request(NET, "tiny", Budget(max_params=3_000))
    compress(
        request, load(tiny_embedding), dataset, recorder, threads=1, effort=effort, compute=cpu
    )
    most = max(candidate.costs.macs for candidate in recorder.candidates)
    assert (most <= affordable) == (affordable > 10)
