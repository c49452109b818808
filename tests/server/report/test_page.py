"""The page holds what the job's row and log hold, whatever state the job is in."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from archpress_server.compress.types import Candidate
from archpress_server.jobs.model import EventKind, JobError, State
from archpress_server.report.facts import JobFacts
from archpress_server.report.page import render
from tests.trainer.report.browser import browser_page, find_browser
from tests.trainer.report.looks import CUT_MARKS, CUT_TEXTS, PANELS, TOUCHING_TEXTS, colours

PANEL_NAMES = ["candidates-plane", "descent-objective", "descent-path", "training-accuracy"]


class Reader(HTMLParser):
    """Collects the words of a page, the ids and the rows of its tables."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.ids: list[str] = []
        self.rows = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.rows += tag == "tr"
        self.ids += [value for name, value in attrs if name == "id" and value]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_facts_are_read_from_the_log(facts: JobFacts) -> None:
    assert [c.rank for c in facts.candidates] == list(range(1, len(facts.candidates) + 1))
    assert facts.job.result is not None
    models = facts.job.result.compression.front
    assert {c.architecture for c in facts.candidates if c.chosen} == {
        m.architecture for m in models
    }
    assert len(facts.descent) >= 10
    assert len(facts.path) == len(facts.descent)
    assert all(0 < point.accuracy < 1 for point in facts.path)
    assert len(facts.trainings) >= 4
    final = [t for t in facts.trainings if "(final)" in t.name]
    assert [len(t.accuracies) for t in final] == [3, 3]
    assert all(list(t.seconds) == sorted(t.seconds) for t in facts.trainings)


@pytest.mark.parametrize("predicted", [True, False])
def test_a_heir_is_named(facts: JobFacts, predicted: bool) -> None:
    first = facts.candidates[0]
    heir = replace(
        first, rank=99, inherits=True, prediction=first.prediction if predicted else None
    )
    event = replace(facts.events[-1], kind=EventKind.CANDIDATE, payload=heir)
    text = Reader(render(replace(facts, events=(*facts.events, event)))).text
    assert "Candidate 99 is the input network with narrower layers." in text
    assert ("pass its ring" in text) == predicted


def test_candidates_without_a_prediction_are_drawn(facts: JobFacts) -> None:
    heirs = tuple(
        replace(event, payload=replace(event.payload, prediction=None, inherits=True))
        for event in facts.events
        if isinstance(event.payload, Candidate)
    )
    assert "candidates-plane" in Reader(render(replace(facts, events=heirs))).ids


def test_the_page_shows_what_was_asked_and_delivered(facts: JobFacts) -> None:
    page = Reader(render(facts))
    result = facts.job.result
    assert result is not None
    found = result.compression
    for text in (
        "jobs/01a21bfa",
        "at most parameters 3,000",
        f"{found.costs_before.params:,} {found.costs_after.params:,}",
        found.certificate.sha256,
        f"{found.certificate.test_images:,}",
        "INT8 copy",
        "a line with <b>signs</b>",
        "global average pool",
    ):
        assert text in page.text, text
    assert [name for name in page.ids if name in PANEL_NAMES] == PANEL_NAMES
    assert len(page.ids) == len(set(page.ids))
    assert page.rows >= len(found.architecture.layers) + 9


def test_the_same_job_gives_the_same_page(facts: JobFacts) -> None:
    assert render(facts) == render(facts)


@pytest.mark.parametrize("state", [State.QUEUED, State.RUNNING, State.CANCELLED])
def test_a_job_without_a_result_has_a_page(facts: JobFacts, state: State) -> None:
    job = replace(facts.job, state=state, result=None, end_time=None)
    page = Reader(render(JobFacts(job, ())))
    assert f"The job is {state}." in page.text
    assert "There is no network yet." in page.text
    assert "No candidate has been predicted or measured yet." in page.text
    assert "not yet" in page.text


def test_what_callers_wrote_is_no_markup(facts: JobFacts) -> None:
    evil = "<script>alert(1)</script>"
    spec = replace(facts.job.spec, network=evil)
    job = replace(
        facts.job, state=State.FAILED, result=None, spec=spec, error=JobError("INTERNAL", evil)
    )
    page = render(replace(facts, job=job))
    assert evil not in page
    assert evil in Reader(page).text


@pytest.mark.skipif(find_browser() is None, reason="no Chromium is installed (make browser)")
@pytest.mark.parametrize(("width", "dark"), [(1360, False), (1360, True), (390, False)])
def test_the_page_is_whole_in_a_browser(
    facts: JobFacts, tmp_path: Path, width: int, dark: bool
) -> None:
    path = tmp_path / "report.html"
    path.write_text(render(facts))
    with browser_page() as browser:
        browser.open(path, width=width, height=844, dark=dark)
        panels = browser.evaluate(PANELS)
        assert [panel["name"] for panel in panels] == PANEL_NAMES
        assert all(panel["width"] > 200 and colours(browser, panel) > 20 for panel in panels)
        assert browser.evaluate("document.documentElement.scrollWidth") == width
        assert browser.evaluate(CUT_TEXTS) == []
        assert browser.evaluate(CUT_MARKS) == []
        assert browser.evaluate(TOUCHING_TEXTS) == []
        assert browser.requests == [path.as_uri()]
        assert browser.problems == []
