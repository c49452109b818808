"""A program that collects a population; the tests kill it.

Arguments: the `.npz` file, the population's folder, the number of nets, the executor.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from archpress_trainer.data.registry import DataSources
from archpress_trainer.population.executors import ExecutorKind, make_executor
from archpress_trainer.population.records import PopulationStore
from archpress_trainer.population.run import collect
from tests.trainer.population.helpers import tiny_spec


def main() -> None:
    """Collect with one worker, which can be interrupted even if the tests run in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    file, folder, nets = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    sources = DataSources(root=file.parent, files={"tiny": file}, download=False)
    spec = tiny_spec(sources, images=880)
    executor = make_executor(ExecutorKind(sys.argv[4]), sources, workers=1)
    collect(spec, nets, PopulationStore(folder), executor)


if __name__ == "__main__":
    main()
