"""How long the rest takes, also where an earlier attempt did the first part."""

from __future__ import annotations

import pytest

from archpress_server.compress.pace import Pace


@pytest.mark.parametrize("before", [0.0, 0.6])
def test_only_own_work_counts(before: float) -> None:
    now = 100.0
    pace = Pace(lambda: now)
    assert pace.seconds_left(before) is None
    now = 110.0
    assert pace.seconds_left(before) is None
    # A tenth of all took ten seconds.
    assert pace.seconds_left(before + 0.1) == pytest.approx(100 * (0.9 - before))
    now = 200.0
    assert pace.seconds_left(1.0) == 0.0
