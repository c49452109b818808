"""The page: every figure of an artifact in one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from archpress_trainer.report.curves import fit_section
from archpress_trainer.report.descent import descent_section
from archpress_trainer.report.drawing import Section
from archpress_trainer.report.facts import ReportFacts, read_facts
from archpress_trainer.report.filters import filters_section
from archpress_trainer.report.latent import latent_section
from archpress_trainer.report.palette import variables
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
    environment = Environment(
        loader=PackageLoader("archpress_trainer.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(_TEMPLATE).render(
        manifest=facts.manifest,
        provenance=provenance(facts.manifest),
        quality=quality_of(facts.manifest.metrics),
        cards=cards(sections(facts)),
        light=variables(dark=False),
        dark=variables(dark=True),
    )


@dataclass(frozen=True)
class Card:
    """A section with its place on a wide screen.

    `half`: beside another one; `row`: text beside its figures; `stack`: text above them.
    """

    section: Section
    layout: str


def cards(shown: Sequence[Section]) -> list[Card]:
    """Return the sections with their layouts: neighbours of one figure each share a row."""
    result: list[Card] = []
    waiting = list(shown)
    while waiting:
        pair = waiting[:2]
        if [len(section.panels) for section in pair] == [1, 1]:
            result += [Card(section, "half") for section in pair]
            del waiting[:2]
        else:
            section = waiting.pop(0)
            result.append(Card(section, "stack" if len(section.panels) > 2 else "row"))
    return result


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
