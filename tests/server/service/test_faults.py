"""What is told of a request with very many faults."""

from __future__ import annotations

import pytest

from archpress_server.compress.types import RequestError
from archpress_server.service.faults import MOST_FAULTS, Faults


def test_the_first_faults_are_told_and_the_others_counted() -> None:
    faults = Faults()
    for index in range(MOST_FAULTS):
        faults.add(f"states[{index}]", "is bad")
    with pytest.raises(RequestError) as caught:
        faults.raise_if_any()
    assert len(caught.value.violations) == MOST_FAULTS
    for _ in range(3):
        faults.add("name", "is bad too")
    with pytest.raises(RequestError) as caught:
        faults.raise_if_any()
    assert len(caught.value.violations) == MOST_FAULTS + 1
    assert caught.value.violations[0].path == "states[0]"
    assert str(caught.value).endswith("; request: has 3 more faults")
