"""What is told of a request with very many faults."""

from __future__ import annotations

import pytest

from archpress_server.compress.types import FieldViolation, Reason, RequestError
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


@pytest.mark.parametrize("model", ["artifact", "network", "architecture"])
def test_faults_of_the_network_are_told_of_the_field_that_gives_it(model: str) -> None:
    faults = Faults()
    shape = f"spec.{model}" + (".classes" if model == "architecture" else "")
    faults.add(shape, "gives 3 classes", Reason.SHAPE_MISMATCH)
    found = (
        FieldViolation("architecture.classes", "is 3", Reason.SHAPE_MISMATCH),
        FieldViolation("architecture", "is too large", Reason.LIMIT_EXCEEDED),
        FieldViolation("budget.max_params", "is too small", Reason.BUDGET_INFEASIBLE),
    )
    faults.merge(RequestError(found), model)
    with pytest.raises(RequestError) as caught:
        faults.raise_if_any()
    assert [(one.path, one.reason) for one in caught.value.violations] == [
        (shape, Reason.SHAPE_MISMATCH),
        (f"spec.{model}", Reason.LIMIT_EXCEEDED),
        ("spec.budget.max_params", Reason.BUDGET_INFEASIBLE),
    ]
