"""Keyword arguments are shown, checked and passed on one by one."""

from __future__ import annotations

import inspect
import threading
from dataclasses import fields

import pytest

from archpress_client import Budget, Client, JobSpec
from archpress_client._options import CompressOptions, job_spec


def test_help_shows_every_option_with_its_default() -> None:
    shown = inspect.signature(Client.compress).parameters
    assert {"network", "dataset", "request_id"} <= set(shown)
    assert set(CompressOptions.__annotations__) <= set(shown)
    assert shown["max_params"].default is None
    assert shown["training_seeds"].default == 1
    assert str(shown["effort"].default) == "draft"
    assert not any(p.kind is p.VAR_KEYWORD for p in shown.values())
    assert "max_accuracy_drop" in inspect.signature(Client.plan).parameters


def test_every_field_of_a_specification_is_an_option() -> None:
    names = {field.name for kind in (JobSpec, Budget) for field in fields(kind)}
    options = set(CompressOptions.__annotations__)
    assert names - options == {"network", "dataset", "budget"}
    assert options <= names


def test_a_misspelt_option_is_named_with_the_nearest() -> None:
    with Client() as client:
        with pytest.raises(
            TypeError,
            match=r"^compress\(\) got an unexpected keyword argument 'max_parms'; "
            r"did you mean 'max_params'\?$",
        ):
            client.compress("conv-7", dataset="d", max_parms=1)  # type: ignore[call-arg]
        with pytest.raises(TypeError, match=r"^plan\(\) got .* 'labels'$"):
            client.plan("conv-7", dataset="d", labels={})  # type: ignore[call-arg]


def test_options_become_a_specification() -> None:
    options: CompressOptions = {"max_params": 5, "effort": "FULL", "labels": None, "seed": 3}
    spec = job_spec("conv-7", "d", options)
    assert spec.budget == Budget(max_params=5)
    assert (spec.effort, spec.seed, spec.labels) == ("full", 3, {})
    assert spec == JobSpec(
        network="conv-7", dataset="d", budget=Budget(max_params=5), effort=spec.effort, seed=3
    )


def test_nothing_is_opened_by_a_wrong_call() -> None:
    before = threading.active_count()
    with Client("localhost:1") as client, pytest.raises(TypeError):
        client.compress("conv-7", "fashion-mnist")  # type: ignore[call-arg]
    assert threading.active_count() == before
