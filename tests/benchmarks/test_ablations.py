"""Searches of other settings are not taken for those that are asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from ablations import main

from tests.benchmarks.other_settings import assert_refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "ours starts 24, not 12"),
        (
            ["--dataset", "cifar10", "--network", "conv-10"],
            "dataset 'fashion-mnist', not 'cifar10'",
        ),
        (["--network", "vgg-16-bn"], "network 'conv-7', not 'vgg-16-bn'"),
    ],
)
def test_an_output_of_other_settings_is_refused(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_refused(main, "ablations", arguments, message, tmp_path, monkeypatch)
