"""The ground floor stays light: only the builder needs torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import archpress_trainer.space

MODULES = sorted(
    path.stem
    for path in Path(archpress_trainer.space.__path__[0]).glob("*.py")
    if path.stem not in ("__init__", "build")
)


def loaded_torch(modules: list[str]) -> str:
    imports = "".join(f"import archpress_trainer.space.{name}\n" for name in modules)
    code = f"import sys\n{imports}print('torch' in sys.modules)"
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_only_the_builder_imports_torch() -> None:
    assert len(MODULES) > 10
    assert loaded_torch(MODULES) == "False"
    assert loaded_torch(["build"]) == "True"
