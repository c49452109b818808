"""The page in a real browser, on a wide screen and on a phone, light and dark."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from matplotlib.image import imread

from archpress_trainer.report.page import write_report
from tests.trainer.report.browser import Page, browser_page, find_browser
from tests.trainer.report.looks import CUT_MARKS, CUT_TEXTS, PANELS, TOUCHING_TEXTS, colours

pytestmark = pytest.mark.skipif(
    find_browser() is None, reason="no Chromium is installed (make browser)"
)

NAMES = [
    "predictions-scatter",
    "population-front",
    "calibration-levels",
    "calibration-by-size",
    "latent-accuracy",
    "latent-size",
    "descent-plane",
    "descent-costs",
    "fit-losses",
    "reconstruction-shares",
    "rejections-counts",
    "filters-encoder",
    "filters-decoder",
    "filters-decoder-last",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with browser_page() as page:
        yield page


@pytest.fixture(scope="module", params=["default_artifact", "paper_artifact"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("report") / "report.html"
    artifact: Path = request.getfixturevalue(request.param)
    write_report(artifact, output)
    return output


@pytest.mark.parametrize(("width", "dark"), [(1360, False), (1360, True), (390, False)])
def test_the_page_is_whole(browser: Page, report: Path, width: int, dark: bool) -> None:
    browser.open(report, width=width, height=844, dark=dark)
    panels = browser.evaluate(PANELS)
    assert [panel["name"] for panel in panels] == NAMES
    for panel in panels:
        assert panel["width"] > 200, panel
        assert panel["height"] > 100, panel
        assert panel["marks"] > 5, panel
        assert colours(browser, panel) > 20, panel
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    assert browser.evaluate(CUT_TEXTS) == []
    assert browser.evaluate(CUT_MARKS) == []
    assert browser.evaluate(TOUCHING_TEXTS) == []
    outside = [url for url in browser.requests if not url.startswith("data:image/png;base64,")]
    assert outside == [report.as_uri()]
    assert browser.problems == []


def test_the_scheme_is_the_reader_s(browser: Page, report: Path) -> None:
    brightness = []
    for dark in (False, True):
        browser.open(report, width=1360, height=844, dark=dark)
        pixels = imread(io.BytesIO(browser.screenshot(0, 0, 1360, 844)), format="png")
        brightness.append(float(pixels[..., :3].mean()))
    assert brightness[0] > 0.8
    assert brightness[1] < 0.25


def test_the_page_may_not_reach_the_network(browser: Page, report: Path) -> None:
    browser.open(report, width=390, height=844)
    blocked = browser.evaluate(
        """
        new Promise(resolve => {
          addEventListener("securitypolicyviolation", event => resolve(event.blockedURI));
          document.body.insertAdjacentHTML("beforeend", '<img src="http://127.0.0.1:9/x.png">');
        })
        """
    )
    assert blocked == "http://127.0.0.1:9/x.png"
    browser.problems.clear()
