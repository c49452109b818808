"""The layout that all pages of figures share: `templates/base.html.j2` and its cards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import BaseLoader, ChoiceLoader, Environment, PackageLoader, StrictUndefined

from archpress_trainer.report.drawing import Section
from archpress_trainer.report.palette import variables


def render_page(
    loader: BaseLoader, template: str, shown: Sequence[Section], **values: object
) -> str:
    """Return a page of sections as HTML that needs nothing else.

    Args:
        loader: of the template, which fills the blocks of `base.html.j2`.
        template: its name.
        shown: the figures, in their order.
        **values: for the template.
    """
    base = PackageLoader("archpress_trainer.report", "templates")
    environment = Environment(
        loader=ChoiceLoader([loader, base]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(
        cards=cards(shown), light=variables(dark=False), dark=variables(dark=True), **values
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
