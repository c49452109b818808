"""The page: every figure of an artifact in one HTML file that needs nothing else."""

from __future__ import annotations

from pathlib import Path

from jinja2 import PackageLoader

from archpress_trainer.report.curves import fit_section
from archpress_trainer.report.descent import descent_section
from archpress_trainer.report.drawing import Section
from archpress_trainer.report.facts import ReportFacts, read_facts
from archpress_trainer.report.filters import filters_section
from archpress_trainer.report.latent import latent_section
from archpress_trainer.report.layout import render_page
from archpress_trainer.report.population import population_section
from archpress_trainer.report.predictions import calibration_section, predictions_section
from archpress_trainer.report.quality import provenance, quality_of
from archpress_trainer.report.shares import reconstruction_section, rejections_section

_TEMPLATE = "page.html.j2"


def write_report(folder: Path, output: Path) -> int:
    """Write the report of an artifact and return its size in bytes.

    The same artifact gives the same bytes.

    Raises:
        ArtifactError: the artifact cannot be used.
        PopulationError: its population is damaged.
    """
    page = render(read_facts(folder)).encode()
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(page)
    return len(page)


def render(facts: ReportFacts) -> str:
    """Return the page as HTML."""
    return render_page(
        PackageLoader("archpress_trainer.report", "templates"),
        _TEMPLATE,
        sections(facts),
        manifest=facts.manifest,
        provenance=provenance(facts.manifest),
        quality=quality_of(facts.manifest.metrics),
    )


def sections(facts: ReportFacts) -> list[Section]:
    """Return the figures in the order of the page: can it be trusted, then what is in it."""
    return [
        predictions_section(facts),
        population_section(facts),
        calibration_section(facts),
        latent_section(facts),
        descent_section(facts),
        fit_section(facts),
        reconstruction_section(facts),
        rejections_section(facts),
        filters_section(facts),
    ]
