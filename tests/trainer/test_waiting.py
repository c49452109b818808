"""The operator's word on how threads wait goes before ours."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from archpress_trainer.waiting import waiting

NAMES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
ENTRY = """
import os, sys
from archpress_trainer.__main__ import main

class Cli:
    @property
    def app(self):
        seen = os.environ["GOMP_SPINCOUNT"]
        return lambda: print(seen, "torch" in sys.modules)

sys.modules["archpress_trainer.cli"] = Cli()
main()
"""


def test_ours_are_for_who_says_nothing() -> None:
    assert waiting({"OMP_NUM_THREADS": "2"}) == {"GOMP_SPINCOUNT": "100000"}


@pytest.mark.parametrize("theirs", [{"GOMP_SPINCOUNT": "5"}, {"OMP_WAIT_POLICY": "passive"}])
def test_the_operators_stay(theirs: dict[str, str]) -> None:
    assert waiting({**theirs, "HOME": "/"}) == theirs


def test_the_trainers_command_says_it_before_torch_is_loaded() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in NAMES}
    command = [sys.executable, "-c", ENTRY]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert done.stdout == "100000 False\n"
