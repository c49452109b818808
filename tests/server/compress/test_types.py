"""Errors of requests keep what they say on their way between processes."""

from __future__ import annotations

import pickle

from archpress_server.compress.types import FieldViolation, Reason, RequestError


def test_a_refusal_crosses_process_borders() -> None:
    violations = (
        FieldViolation("budget.max_params", "is too low", Reason.BUDGET_INFEASIBLE),
        FieldViolation("dataset", "is unknown", Reason.UNKNOWN_DATASET),
    )
    error = RequestError(violations, {"nearest": "6000"})
    found = pickle.loads(pickle.dumps(error))
    assert type(found) is RequestError
    assert str(found) == str(error) == "budget.max_params: is too low; dataset: is unknown"
    assert found.violations == violations
    assert found.metadata == {"nearest": "6000"}
    assert found.reason is Reason.BUDGET_INFEASIBLE
