"""What settings of threads are worth, from what was measured."""

from __future__ import annotations

from neighbours import summary

ONE = {"seconds": 0.2, "processor_seconds": 0.4}


def test_one_repetition_has_no_spread() -> None:
    found = summary([ONE], [{**ONE, "seconds": 0.1}])
    assert (found["n"], found["ratio_mean"], found["ratio_stdev"]) == (1, 2.0, None)


def test_several_repetitions_have_one() -> None:
    found = summary([ONE, ONE], [ONE, ONE])
    assert (found["ratio_mean"], found["ratio_stdev"]) == (1.0, 0.0)
