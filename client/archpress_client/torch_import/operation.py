"""One operation of a traced module: its name, its place in the module and its arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.fx import Node

from archpress_client._errors import InvalidRequestError
from archpress_client.torch_import.refusal import refused


class Operation:
    """A call in the graph, its arguments by name."""

    def __init__(self, node: Node) -> None:
        """Read a node."""
        self.node = node
        self.kind: str = node.target.__name__.partition(".")[0]  # type: ignore[union-attr]
        """Such as `conv2d`; one that changes its first argument ends with an underscore."""
        self.arguments = _by_name(node)

    @property
    def in_place(self) -> bool:
        """Whether the first argument is changed."""
        return self.kind.endswith("_") and not self.kind.startswith("_")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the output, the batch included."""
        return _shape(self.node)

    @property
    def first(self) -> object:
        """The first argument."""
        return next(iter(self.arguments.values()), None)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the first argument as the operation reads it, without the batch."""
        return _shape(self.first)[1:]

    def integer(self, name: str) -> int:
        """Return an argument for height and width that must be one number for both."""
        value = self.arguments[name]
        numbers = [value] if isinstance(value, int) else list(value)
        if not numbers or len(set(numbers)) != 1:
            raise self.refused(f"{name} is {value}, must be the same for height and width")
        return int(numbers[0])

    def require(self, name: str, wanted: Sequence[object]) -> None:
        """Refuse any other value of an argument."""
        value = self.arguments[name]
        if value not in wanted:
            raise self.refused(f"{name} is {value}, must be {wanted[0]}")

    def refused(self, text: str) -> InvalidRequestError:
        """Return the error that names this operation."""
        stack = list(self.node.meta.get("nn_module_stack", {}).values())
        place = stack[-1][0] if stack and stack[-1][0] else self.node.name
        return refused(f"{place} ({self.kind}): {text}")


def _shape(argument: object) -> tuple[int, ...]:
    value = argument.meta.get("val") if isinstance(argument, Node) else None
    return tuple(getattr(value, "shape", ()))


def _by_name(node: Node) -> dict[str, Any]:
    schema = getattr(node.target, "_schema", None)
    found: dict[str, Any] = {}
    # Calls without a schema are Python's own, which no rule knows.
    for place, argument in enumerate(schema.arguments if schema is not None else ()):
        if place < len(node.args):
            found[argument.name] = node.args[place]
        elif argument.name in node.kwargs:
            found[argument.name] = node.kwargs[argument.name]
        else:
            found[argument.name] = argument.default_value if argument.has_default_value() else None
    return found
