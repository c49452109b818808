"""What every program whose lines hold its settings must do."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from json_lines import RESULTS


def assert_refused(
    main: Callable[[], None],
    name: str,
    arguments: Sequence[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Run a program on a copy of its committed lines with settings that are not theirs."""
    output = tmp_path / f"{name}.jsonl"
    shutil.copy(RESULTS / output.name, output)
    before = output.read_bytes()
    monkeypatch.setattr("sys.argv", [f"{name}.py", "--output", str(output), *arguments])
    with pytest.raises(SystemExit, match=message):
        main()
    assert output.read_bytes() == before
