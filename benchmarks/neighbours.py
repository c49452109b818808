"""What a setting of threads is worth alone and beside other programs, for the benchmarks of it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from archpress_trainer.waiting import POLICY, SPINS

_BUSY = "while True: pass"


@dataclass(frozen=True)
class Setting:
    """A name, arguments of the program that is one measurement, and rounds that threads spin."""

    name: str
    arguments: Sequence[str] = ()
    spins: str | None = None


def compare(settings: Sequence[Setting], repetitions: int, output: Path) -> None:
    """Let settings take turns alone and beside a busy program for each CPU, and write what came.

    This program, called with the arguments of a setting, prints `seconds` and `processor_seconds`
    as JSON. Ratios are to the first setting in the same repetition.
    """
    measured: dict[tuple[str, str], list[dict[str, float]]] = {}
    for _ in range(repetitions):
        for place, neighbours in (("alone", 0), ("beside others", cpus())):
            with _busy(neighbours):
                for setting in settings:
                    found = _measured(setting)
                    measured.setdefault((place, setting.name), []).append(found)
                    print(place, setting.name, found, flush=True)
        result = {
            "command": " ".join(("python", *sys.argv)),
            "machine": platform.processor() or platform.machine(),
            "cpus": cpus(),
            "torch": torch.__version__,
            "settings": [
                {"place": place, "setting": name}
                | summary(found, measured[place, settings[0].name])
                for (place, name), found in measured.items()
            ],
        }
        output.write_text(json.dumps(result, indent=1) + "\n")


def cpus() -> int:
    """Return how many CPUs this process may use."""
    return len(os.sched_getaffinity(0))


def summary(
    found: Sequence[Mapping[str, float]], first: Sequence[Mapping[str, float]]
) -> dict[str, Any]:
    """Return means and how the times relate to the first setting's; one ratio has no spread."""
    ratios = [one["seconds"] / two["seconds"] for one, two in zip(found, first, strict=True)]
    return {
        "n": len(found),
        "mean_seconds": mean(one["seconds"] for one in found),
        "mean_processor_seconds": mean(one["processor_seconds"] for one in found),
        "ratio_mean": mean(ratios),
        "ratio_stdev": stdev(ratios) if len(ratios) > 1 else None,
    }


def _measured(setting: Setting) -> dict[str, float]:
    environment = {name: value for name, value in os.environ.items() if name not in (SPINS, POLICY)}
    if setting.spins is not None:
        environment[SPINS] = setting.spins
    command = [sys.executable, sys.argv[0], *setting.arguments]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    found: dict[str, float] = json.loads(done.stdout)
    return found


@contextmanager
def _busy(number: int) -> Iterator[None]:
    programs = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(number)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()
