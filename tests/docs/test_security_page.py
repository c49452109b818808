"""The tests that the threat model names are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "security.md"
_NAMED = re.compile(r"`(tests/[\w/]+\.py)::([\w:]+)`")


def rows() -> list[str]:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return lines[1:]


def named_in(path: Path) -> set[str]:
    found = set()
    for node in ast.parse(path.read_text()).body:
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        inner = node.body if isinstance(node, ast.ClassDef) else [node]
        functions = [f for f in inner if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef)]
        found |= {prefix + f.name for f in functions if f.name.startswith("test_")}
    return found


def test_each_line_names_tests_that_exist() -> None:
    assert len(rows()) > 20
    for row in rows():
        named = _NAMED.findall(row.rsplit("|", 2)[1])
        assert named, row
        for path, name in named:
            assert name in named_in(ROOT / path), f"{path}::{name}"
