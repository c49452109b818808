"""The tutorials are run as they stand, page after page in one folder."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.ports import free_port

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "tutorials"
PAGES = ("own-data", "own-model", "ray", "production", "another-language")
PORTS = ("50051", "50443", "59090")
_BLOCK = re.compile(r"^```(python|sh)( [^\n]*)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SECONDS = 300


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, what stands behind it, and its text."""

    language: str
    mark: str
    text: str


def blocks(page: str) -> list[Block]:
    found = _BLOCK.findall((FOLDER / f"{page}.md").read_text())
    return [Block(language, mark.strip(), text) for language, mark, text in found]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which the pages are run; what they started is ended."""
    folder = tmp_path_factory.mktemp("tutorials")
    yield folder
    for path in folder.glob("pid-*"):
        with_group = int(path.name.removeprefix("pid-"))
        try:
            os.killpg(with_group, signal.SIGTERM)
        except ProcessLookupError:
            continue


@pytest.fixture(scope="module")
def ports() -> dict[str, str]:
    """Free ports for those that the pages name."""
    return {port: str(free_port()) for port in PORTS}


def run(block: Block, folder: Path, ports: dict[str, str]) -> None:
    text = block.text
    for port, free in ports.items():
        text = text.replace(port, free)
    if block.mark.startswith("file="):
        (folder / block.mark.removeprefix("file=")).write_text(text)
        return
    path = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{path}:{os.environ['PATH']}",
        "ARCHPRESS_SERVER": f"localhost:{ports['50051']}",
        "ARCHPRESS_THREADS_PER_WORKER": "1",
        "PYTHONPATH": f".:{os.environ.get('PYTHONPATH', '')}",
    }
    command = [sys.executable, "-c", text]
    if block.language == "sh":
        command = ["bash", "-euo", "pipefail", "-c", text]
    log = folder / "log.txt"
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        # What a block leaves in the background is of its group.
        (folder / f"pid-{process.pid}").touch()
        code = process.wait(_SECONDS)
    assert code == 0, f"{text}\n{log.read_text()[-3000:]}"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", PAGES)
def test_pages_run_as_they_stand(page: str, folder: Path, ports: dict[str, str]) -> None:
    for block in blocks(page):
        if block.mark != "no-run":
            run(block, folder, ports)


def test_every_page_is_listed_and_run() -> None:
    pages = {path.stem for path in FOLDER.glob("*.md")} - {"README"}
    assert pages == set(PAGES)
    listed = re.findall(r"\(([\w-]+)\.md\)", (FOLDER / "README.md").read_text())
    assert set(listed) == pages
    assert {block.mark for page in PAGES for block in blocks(page)} <= {
        "",
        "no-run",
        "file=model.py",
    }
