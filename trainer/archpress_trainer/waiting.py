"""How long threads spin for one another before they sleep."""

from __future__ import annotations

from collections.abc import Mapping

SPINS, POLICY = "GOMP_SPINCOUNT", "OMP_WAIT_POLICY"
"""Variables that OpenMP reads."""
_ROUNDS = "100000"


def waiting(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that say it to OpenMP: those of the environment, or else ours.

    By default threads spin so long that beside other programs they take the time of those whom they
    wait for; ours cost nothing where a process is alone (ADR 35). OpenMP reads them when it is
    loaded, and torch loads it.
    """
    theirs = {name: environment[name] for name in (SPINS, POLICY) if name in environment}
    return theirs or {SPINS: _ROUNDS}
