"""The page as text: what is on it, that it needs nothing else, and that it stays the same."""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from archpress_trainer.embedding.figures import FigureData, FitCurves, write_figures
from archpress_trainer.embedding.manifest import ArtifactError
from archpress_trainer.embedding.metrics import METRIC_MEANINGS
from archpress_trainer.report.facts import read_facts
from archpress_trainer.report.layout import cards
from archpress_trainer.report.page import render, sections, write_report

FROM_FIGURES_FILE = {"predictions", "calibration", "fit", "reconstruction", "rejections"}
FROM_ARTIFACT = {"population", "latent", "descent", "filters"}


class Parsed(HTMLParser):
    """Start tags with their attributes, and whether every tag is closed by its own."""

    VOID = frozenset({"meta", "br", "img", "link", "input", "hr"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.faults: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)


@pytest.fixture(scope="module")
def page(paper_artifact: Path) -> str:
    return render(read_facts(paper_artifact))


def test_every_figure_is_there(paper_artifact: Path) -> None:
    shown = sections(read_facts(paper_artifact))
    assert {section.name for section in shown} == FROM_FIGURES_FILE | FROM_ARTIFACT
    for section in shown:
        assert section.panels, section.name
        assert section.missing == ""
        assert section.see
        assert section.distrust.startswith("Distrust")


def test_an_old_artifact_says_what_is_left_out(bare_paper_artifact: Path) -> None:
    facts = read_facts(bare_paper_artifact)
    for section in sections(facts):
        if section.name in FROM_FIGURES_FILE:
            assert not section.panels
            assert section.missing.startswith("Left out: this artifact has no figures.json")
            assert "\n" not in section.missing
        else:
            assert section.panels
    assert render(facts).count("Left out: ") == len(FROM_FIGURES_FILE)


def test_an_empty_part_is_left_out_alone(bare_paper_artifact: Path, tmp_path: Path) -> None:
    folder = tmp_path / "artifact"
    shutil.copytree(bare_paper_artifact, folder)
    write_figures(folder, FigureData(fit=FitCurves((1,), {"total": (0.5,)})))
    by_name = {section.name: section for section in sections(read_facts(folder))}
    assert by_name["fit"].panels
    assert by_name["rejections"].missing == (
        "Left out: this artifact's figures.json has no rejections."
    )


def test_without_a_population(bare_paper_artifact: Path, tmp_path: Path) -> None:
    folder = tmp_path / "artifact"
    shutil.copytree(bare_paper_artifact, folder)
    (folder / "population.jsonl").unlink()
    by_name = {section.name: section for section in sections(read_facts(folder))}
    for name in ("population", "latent", "descent"):
        assert "population.jsonl has 0 labelled nets" in by_name[name].missing
    assert by_name["filters"].panels


def test_provenance_and_metrics(page: str, paper_artifact: Path) -> None:
    manifest = read_facts(paper_artifact).manifest
    for words in (manifest.name, manifest.dataset, str(manifest.fidelity), "boosted trees"):
        assert words in page
    for name, meaning in METRIC_MEANINGS:
        if name in manifest.metrics and "kendall_tau" not in name:
            assert meaning in page
    assert f"{manifest.metrics['accuracy_kendall_tau']:.3f}" in page


def test_the_same_bytes_twice(page: str, paper_artifact: Path, tmp_path: Path) -> None:
    output = tmp_path / "new folder" / "report.html"
    assert write_report(paper_artifact, output) == len(page.encode())
    assert output.read_text() == page


def test_nothing_is_fetched(page: str) -> None:
    assert "http:" not in page
    assert "https:" not in page
    assert "//" not in re.sub(r"base64,[^\"]*", "", page)
    parsed = Parsed(page)
    assert not {tag for tag, _ in parsed.tags} & {"script", "link", "iframe", "object", "img"}
    for _, attributes in parsed.tags:
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/png;base64,"))
    assert "default-src 'none'" in page


def test_ids_are_unique_and_known(page: str) -> None:
    parsed = Parsed(page)
    assert parsed.open == []
    assert parsed.faults == []
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    referred = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", page))
    assert referred <= set(ids)


def test_colours_follow_the_scheme(page: str) -> None:
    body = page[page.index("</style>") :]
    body = re.sub(r"base64,[^\"]*|href=\"#[^\"]*|url\(#[^)]*", "", body)
    assert re.findall(r"#[0-9a-f]{6}\b", body) == []
    used = set(re.findall(r"var\((--[a-z0-9-]+)\)", page))
    declared = set(re.findall(r"(--[a-z0-9-]+):", page))
    assert used <= declared


def test_names_are_escaped(paper_artifact: Path, tmp_path: Path) -> None:
    folder = tmp_path / "artifact"
    shutil.copytree(paper_artifact, folder)
    hostile = "</text><script>alert('$x^2$\")</script>"
    write_figures(
        folder,
        FigureData(
            FitCurves((1, 2), {hostile: (2.0, 1.0)}),
            reconstruction={hostile: 0.5},
            rejections={hostile: 3},
        ),
    )
    page = render(read_facts(folder))
    assert "<script" not in page
    assert Parsed(page).faults == []


def test_a_damaged_artifact(paper_artifact: Path, tmp_path: Path) -> None:
    folder = tmp_path / "artifact"
    shutil.copytree(paper_artifact, folder)
    (folder / "figures.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"figures\.json is damaged"):
        write_report(folder, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_neighbours_of_one_figure_share_a_row(paper_artifact: Path) -> None:
    layouts = {
        card.section.name: card.layout for card in cards(sections(read_facts(paper_artifact)))
    }
    assert layouts["predictions"] == layouts["population"] == "half"
    assert layouts["latent"] == "row"
    assert layouts["filters"] == "stack"
    assert list(layouts.values()).count("half") % 2 == 0
