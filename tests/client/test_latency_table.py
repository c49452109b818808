"""Tables of latencies from JSON: numbers, or a refusal that names the field."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from archpress_client import InvalidRequestError, LatencyTable, LayerKind, LayerLatency


def test_json_round_trip() -> None:
    row = LayerLatency(kind=LayerKind.CONVOLUTION, kernel=3, seconds_per_mac=2e-10)
    table = LatencyTable(layers=(row,), fixed_seconds=1e-5)
    assert LatencyTable.from_json(table.to_json()) == table


def test_numbers_that_no_float_holds_are_named(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    row = {"kind": "RELU", "seconds_per_mac": 10**400}
    path.write_text(json.dumps({"fixed_seconds": 10**400, "layers": [row]}))
    with pytest.raises(InvalidRequestError) as caught:
        LatencyTable.load(path)
    assert [fault.field for fault in caught.value.violations] == [
        "latency_table.fixed_seconds",
        "latency_table.layers[0].seconds_per_mac",
    ]


@pytest.mark.parametrize("kind", ["UNKNOWN", "relu", "", "4", None, True, 4, ["RELU"], {}])
def test_kinds_that_are_none_are_named(kind: object) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        LatencyTable.from_json({"layers": [{"kind": kind}]})
    (fault,) = caught.value.violations
    assert fault.field == "latency_table.layers[0].kind"
    assert fault.description == f"is {kind!r}, must name a kind of layer"
