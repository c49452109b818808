"""The keyword arguments of `compress` and `plan`, for both clients."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, ParamSpec, TypedDict, TypeVar, get_type_hints

from archpress_client._latency_table import LatencyTable
from archpress_client._network import Network
from archpress_client._request import choice
from archpress_client._types import Budget, Effort, JobSpec, Method

P = ParamSpec("P")
T = TypeVar("T")


class PlanOptions(TypedDict, total=False):
    """What a plan may be asked for."""

    max_params: int | None
    max_params_ratio: float | None
    max_macs: int | None
    max_macs_ratio: float | None
    max_latency_seconds: float | None
    min_accuracy: float | None
    max_accuracy_drop: float | None
    latency_table: LatencyTable | None
    effort: Effort | str
    method: Method | str
    seed: int


class CompressOptions(PlanOptions, total=False):
    """What a job may be asked for."""

    labels: Mapping[str, str] | None
    max_run_time_seconds: float | None
    max_queue_time_seconds: float | None
    priority: int
    pareto_models: int
    int8: bool
    training_seeds: int


_BUDGET = {field.name: field.default for field in fields(Budget)}
_SPEC = {field.name: field.default for field in fields(JobSpec)}


def job_spec(network: str | Network, dataset: str, options: Mapping[str, Any]) -> JobSpec:
    """Return the specification that the arguments make.

    Raises:
        InvalidRequestError: effort or method is none that there is.
    """
    rest = {name: value for name, value in options.items() if name not in _BUDGET}
    rest["effort"] = choice(Effort, "spec.effort", rest.get("effort", Effort.DRAFT))
    rest["method"] = choice(Method, "spec.method", rest.get("method", Method.DEFAULT))
    rest["labels"] = rest.get("labels") or {}
    budget = Budget(**{name: value for name, value in options.items() if name in _BUDGET})
    return JobSpec(network=network, dataset=dataset, budget=budget, **rest)


def with_options(options: type) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return a decorator that shows and checks a method's `**options` one by one.

    Type checkers take them from the annotation; `help`, notebooks and callers without a type
    checker get them from here.
    """
    hints = get_type_hints(options)

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        signature = inspect.signature(function)
        named = [
            parameter
            for parameter in signature.parameters.values()
            if parameter.kind is not parameter.VAR_KEYWORD
        ]
        known = [parameter.name for parameter in named] + list(hints)

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> T:
            for name in kwargs:
                if name not in known:
                    raise TypeError(_unexpected(function.__name__, name, known))
            return function(*args, **kwargs)

        shown = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=_default(name), annotation=hint
            )
            for name, hint in hints.items()
        ]
        full = signature.replace(parameters=[*named, *shown])
        checked.__signature__ = full  # type: ignore[attr-defined]
        return checked

    return decorate


def _unexpected(function: str, name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{function}() got an unexpected keyword argument {name!r}{hint}"


def _default(name: str) -> object:
    default = _BUDGET.get(name, _SPEC.get(name))
    return None if name == "labels" else default
