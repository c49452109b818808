"""All kinds of chaos at full size, on SQLite and on PostgreSQL; the exit code is 1 after a fault.

python -m tests.chaos --output benchmarks/results/chaos.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import sqlalchemy as sa

from tests.chaos import scenarios
from tests.chaos.scenarios import Summary
from tests.server.postgresql import empty_schema, running_postgresql

_PACKAGES = ("grpcio", "protobuf", "sqlalchemy")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    summaries = []
    for summary in _run(options.jobs, options.clients, options.seed):
        print(summary, flush=True)
        for fault in summary.faults:
            print(f"  {fault}", flush=True)
        summaries.append(summary)
    if options.output is not None:
        report = {
            "command": shlex.join(["python", "-m", "tests.chaos", *sys.argv[1:]]),
            "cores": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
            "versions": {name: version(name) for name in _PACKAGES},
            "runs": [asdict(summary) for summary in summaries],
        }
        options.output.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if any(summary.faults for summary in summaries) else 0


def _run(jobs: int, clients: int, seed: int) -> Iterator[Summary]:
    few = max(2, jobs // 10)
    with tempfile.TemporaryDirectory() as name, running_postgresql() as engine:
        folder = Path(name)
        for replicas in (1, 2):
            with _databases(engine, replicas) as url:
                config = scenarios.settings(folder / f"kills-{replicas}", url)
                yield scenarios.kills(
                    config, jobs=jobs, clients=clients, seed=seed, replicas=replicas
                )
            with _databases(engine, replicas) as url:
                config = scenarios.settings(folder / f"drain-{replicas}", url)
                yield scenarios.drain(config, jobs=few, watchers=3, seed=seed)
        with empty_schema(engine) as url:
            config = scenarios.settings(folder / "failover", url)
            yield scenarios.failover(config, jobs=few, seed=seed)


def _databases(engine: sa.Engine, replicas: int) -> AbstractContextManager[str]:
    """Return SQLite for one replica, PostgreSQL for more."""
    return nullcontext("") if replicas == 1 else empty_schema(engine)


if __name__ == "__main__":
    sys.exit(main())
