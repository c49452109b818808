"""Building an embedding for real, with small settings: what is left behind and what is reused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from archpress_trainer.build import build_embedding
from archpress_trainer.data.registry import DataSources
from archpress_trainer.embedding.artifact import load
from archpress_trainer.embedding.default import DefaultEmbedding
from archpress_trainer.embedding.fit_autoencoder import AutoencoderSettings, FitStep
from archpress_trainer.embedding.heads import HeadSettings
from archpress_trainer.embedding.manifest import ArtifactError, EmbeddingMethod
from archpress_trainer.embedding.metrics import METRIC_MEANINGS
from archpress_trainer.embedding.paper import PaperEmbedding, PaperSettings
from archpress_trainer.embedding.record import Record
from archpress_trainer.population.executor import Task
from archpress_trainer.population.spec import PopulationError, PopulationSpec
from archpress_trainer.stages import autoencoder as autoencoder_stage
from archpress_trainer.stages.settings import BuildObserver, BuildSettings
from archpress_trainer.training.device import Compute
from archpress_trainer.training.recipe import paper_recipe
from tests.trainer.nets import chains
from tests.trainer.population.helpers import CountingExecutor, record_of, tiny_spec

SETTINGS = BuildSettings(
    nets=24,
    autoencoder=AutoencoderSettings(nets=300, iterations=10, batch_size=32, dimensions=16),
    heads=HeadSettings(iterations=5, folds=2),
    paper=PaperSettings(iterations=20),
    sampling_workers=1,
    unseen_nets=50,
)
NETS = chains(5)


@pytest.fixture(scope="module")
def spec(tiny_sources: DataSources) -> PopulationSpec:
    return tiny_spec(tiny_sources)


@pytest.fixture(scope="module")
def built(spec: PopulationSpec, cpu: Compute, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `work` and `output` of a finished build."""
    folder = tmp_path_factory.mktemp("built")
    build_embedding(spec, SETTINGS, CountingExecutor(), folder / "work", folder / "output", cpu)
    return folder


@pytest.fixture
def folder(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path / "copy")
    return tmp_path / "copy"


def test_the_artifact_holds_the_population(built: Path, spec: PopulationSpec) -> None:
    embedding = load(built / "output")
    manifest = embedding.manifest
    assert manifest.population_size == len(embedding.exemplars) == 24
    assert manifest.space == spec.space
    assert manifest.fidelity == spec.fidelity
    assert manifest.dataset_fingerprint == spec.dataset_fingerprint
    assert manifest.label_recipe is None
    assert set(manifest.metrics) == {name for name, _ in METRIC_MEANINGS}
    assert manifest.name.startswith("tiny-default-")
    for name in ("population.json", "population.jsonl"):
        shipped = (built / "output" / name).read_bytes()
        assert shipped == (built / "work" / "population" / name).read_bytes()


def test_labels_are_borrowed_from_another_embedding(
    tiny_embedding: Path, tiny_residual_embedding: Path
) -> None:
    embedding, lender = load(tiny_residual_embedding), load(tiny_embedding)
    assert embedding.manifest.population_size == 24
    assert embedding.manifest.settings["also"] == [str(tiny_embedding)]
    borrowed = {exemplar.architecture.digest: exemplar for exemplar in embedding.exemplars[24:]}
    assert borrowed == {exemplar.architecture.digest: exemplar for exemplar in lender.exemplars}
    assert any(not exemplar.architecture.is_chain for exemplar in embedding.exemplars[:24])
    assert isinstance(embedding, DefaultEmbedding)
    assert len(embedding.heads.scores) == 48
    # Quality is that of its own nets.
    assert embedding.manifest.metrics["held_out_networks"] == 24


def test_an_own_net_is_not_borrowed_again(
    spec: PopulationSpec, built: Path, cpu: Compute, tmp_path: Path
) -> None:
    lender = str(built / "output")
    settings = replace(SETTINGS, nets=20, also=(lender, lender))
    embedding = build_embedding(
        spec, settings, CountingExecutor(), tmp_path / "w", tmp_path / "o", cpu
    )
    assert isinstance(embedding, DefaultEmbedding)
    # Twenty of the lender's 24 are the population's own.
    assert len(embedding.heads.scores) == 24
    digests = [exemplar.architecture.digest for exemplar in load(tmp_path / "o").exemplars]
    assert len(digests) == len(set(digests)) == 24


def test_no_more_nets_are_repeated_than_there_are(
    spec: PopulationSpec, cpu: Compute, tmp_path: Path
) -> None:
    executor = CountingExecutor()
    settings = replace(SETTINGS, repeats=60)
    build_embedding(spec, settings, executor, tmp_path / "w", tmp_path / "o", cpu)
    assert sorted(executor.given) == sorted([*range(24), *range(24)])


def test_two_builds_do_not_share_a_folder(
    spec: PopulationSpec, cpu: Compute, tmp_path: Path
) -> None:
    second = CountingExecutor()
    refusals = []

    def meanwhile(_: FitStep) -> None:
        with pytest.raises(PopulationError, match="another build is at work in") as caught:
            build_embedding(spec, SETTINGS, second, tmp_path / "w", tmp_path / "o2", cpu)
        refusals.append(caught)

    told = BuildObserver(on_autoencoder=meanwhile)
    build_embedding(spec, SETTINGS, CountingExecutor(), tmp_path / "w", tmp_path / "o", cpu, told)
    assert refusals
    assert second.given == []
    build_embedding(spec, SETTINGS, second, tmp_path / "w", tmp_path / "o2", cpu)


@pytest.mark.parametrize("work", ["out", "out/work"])
def test_the_stages_are_not_removed_with_the_artifact(
    work: str, spec: PopulationSpec, cpu: Compute, tmp_path: Path
) -> None:
    executor = CountingExecutor()
    with pytest.raises(ArtifactError, match="would be removed when the embedding is written"):
        build_embedding(spec, SETTINGS, executor, tmp_path / work, tmp_path / "out", cpu)
    assert executor.given == []


def test_labels_that_were_made_otherwise_are_not_borrowed(
    spec: PopulationSpec, tiny_embedding: Path, cpu: Compute, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, also=(str(tiny_embedding),))
    executor = CountingExecutor()
    with pytest.raises(PopulationError, match=r"made otherwise \(they differ in fidelity\)"):
        build_embedding(spec, settings, executor, tmp_path / "w", tmp_path / "o", cpu)
    assert executor.given == []


def test_a_second_build_does_nothing_again(
    folder: Path, spec: PopulationSpec, cpu: Compute
) -> None:
    before = load(folder / "output")
    executor, steps = CountingExecutor(), list[FitStep]()
    again = build_embedding(
        spec,
        SETTINGS,
        executor,
        folder / "work",
        folder / "output",
        cpu,
        BuildObserver(on_autoencoder=steps.append),
    )
    assert executor.given == []
    assert steps == []
    assert again.manifest == before.manifest
    assert [p.accuracy for p in again.predict(NETS)] == pytest.approx(
        [p.accuracy for p in before.predict(NETS)], abs=2e-3
    )


def test_other_settings_fit_the_autoencoder_again(
    folder: Path, spec: PopulationSpec, cpu: Compute
) -> None:
    executor, steps = CountingExecutor(), list[FitStep]()
    other = replace(SETTINGS, autoencoder=replace(SETTINGS.autoencoder, iterations=12))
    build_embedding(
        spec,
        other,
        executor,
        folder / "work",
        folder / "other",
        cpu,
        BuildObserver(on_autoencoder=steps.append),
    )
    assert executor.given == []
    assert steps[-1].iteration == 12


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", None])
def test_a_damaged_autoencoder_is_one_line(
    content: bytes | None, folder: Path, spec: PopulationSpec, cpu: Compute
) -> None:
    path = folder / "work" / "autoencoder.safetensors"
    path.write_bytes(path.read_bytes()[:5_000] if content is None else content)
    with pytest.raises(ArtifactError, match="remove it to fit the autoencoder again") as caught:
        build_embedding(spec, SETTINGS, CountingExecutor(), folder / "work", folder / "output", cpu)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"settings": 1}'])
def test_damaged_facts_are_no_obstacle(
    content: str, folder: Path, spec: PopulationSpec, cpu: Compute
) -> None:
    (folder / "work" / "autoencoder.json").write_text(content)
    steps = list[FitStep]()
    build_embedding(
        spec,
        SETTINGS,
        CountingExecutor(),
        folder / "work",
        folder / "output",
        cpu,
        BuildObserver(on_autoencoder=steps.append),
    )
    assert steps[-1].iteration == 10
    facts = json.loads((folder / "work" / "autoencoder.json").read_text())
    assert facts["space_digest"] == spec.space.digest


def test_facts_do_not_outlive_their_weights(
    folder: Path, spec: PopulationSpec, cpu: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(path: Path, content: bytes) -> None:
        path.write_bytes(content)
        raise KeyboardInterrupt

    other = replace(SETTINGS, autoencoder=replace(SETTINGS.autoencoder, iterations=12))
    with monkeypatch.context() as patch:
        patch.setattr(autoencoder_stage, "write_atomically", killed)
        with pytest.raises(KeyboardInterrupt):
            build_embedding(spec, other, CountingExecutor(), folder / "work", folder / "other", cpu)
    steps = list[FitStep]()
    told = BuildObserver(on_autoencoder=steps.append)
    build_embedding(
        spec, SETTINGS, CountingExecutor(), folder / "work", folder / "output", cpu, told
    )
    assert steps[-1].iteration == 10


def test_the_papers_method(folder: Path, spec: PopulationSpec, cpu: Compute) -> None:
    executor = CountingExecutor()
    settings = replace(SETTINGS, method=EmbeddingMethod.PAPER)
    build_embedding(spec, settings, executor, folder / "work", folder / "paper", cpu)
    assert executor.given == []
    embedding = load(folder / "paper")
    assert isinstance(embedding, PaperEmbedding)
    assert embedding.manifest.name.startswith("tiny-paper-")
    assert len(embedding.exemplars) == 24


def test_the_artifact_tells_another_recipe_of_labels(
    spec: PopulationSpec, cpu: Compute, tmp_path: Path
) -> None:
    other = replace(spec, recipe=replace(paper_recipe("tiny"), epochs=spec.fidelity.epochs))
    settings = replace(SETTINGS, method=EmbeddingMethod.PAPER)
    build_embedding(other, settings, CountingExecutor(), tmp_path / "w", tmp_path / "o", cpu)
    assert load(tmp_path / "o").manifest.label_recipe == other.recipe


class _Failing:
    """Implements `Executor`; most nets get no label."""

    def run(self, spec: PopulationSpec, tasks: Iterable[Task]) -> Generator[Record]:
        """Yield a record per task."""
        for task in tasks:
            record = record_of(task)
            yield record if task.index < 19 else replace(record, status="diverged")


def test_too_few_labels(spec: PopulationSpec, cpu: Compute, tmp_path: Path) -> None:
    words = r"only 19 of 24 nets .* at least 20 .*; of 5 it says: diverged"
    with pytest.raises(PopulationError, match=words):
        build_embedding(spec, SETTINGS, _Failing(), tmp_path / "work", tmp_path / "output", cpu)
    assert not (tmp_path / "output").exists()


def test_another_population_in_the_work_folder(
    folder: Path, spec: PopulationSpec, cpu: Compute
) -> None:
    with pytest.raises(PopulationError, match=r"differs in seed"):
        build_embedding(
            replace(spec, seed=1),
            SETTINGS,
            CountingExecutor(),
            folder / "work",
            folder / "output",
            cpu,
        )


def test_a_start_from_nowhere_is_told_before_any_label(
    spec: PopulationSpec, cpu: Compute, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, autoencoder=replace(SETTINGS.autoencoder, start="no-such"))
    executor = CountingExecutor()
    with pytest.raises(ArtifactError, match="no-such is no folder"):
        build_embedding(spec, settings, executor, tmp_path / "work", tmp_path / "out", cpu)
    assert executor.given == []
