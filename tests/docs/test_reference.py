"""The API reference has every public name, with its docstring and its arguments."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pdoc.render

import archpress_client


class Anchors(HTMLParser):
    """Collects the ids and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids |= {value for name, value in attrs if name == "id" and value}

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_reference_is_whole(tmp_path: Path) -> None:
    pdoc.render.configure(docformat="google")
    pdoc.pdoc("archpress_client", output_directory=tmp_path)
    page = Anchors((tmp_path / "archpress_client.html").read_text())
    assert set(archpress_client.__all__) <= page.ids
    for name in (
        "Client.compress",
        "AsyncClient.compress",
        "JobHandle.report",
        "Network.from_torch",
        "Result.save",
        "FrontModel.sha256",
        "QuantizedModel.model_bytes",
    ):
        assert name in page.ids
    text = " ".join("".join(page.words).split())
    # Options are shown one by one.
    assert "max_accuracy_drop: float | None = None" in text
    assert "Create a job and return its handle." in text
