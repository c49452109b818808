"""`Caller`: on whose behalf a call runs."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from archpress_server.auth.errors import AuthReason, ForbiddenError, not_owner
from archpress_server.auth.scopes import Scope


@dataclass(frozen=True, slots=True)
class Caller:
    """A principal with what it may do; `credential` is the id of what it came with."""

    principal: str
    scopes: frozenset[Scope]
    credential: str = ""

    @property
    def sees_all(self) -> bool:
        """Whether the jobs of every principal are the caller's."""
        return Scope.ADMIN in self.scopes

    def check_scope(self, scope: Scope) -> None:
        """Raise `ForbiddenError` unless the caller has a scope."""
        if scope not in self.scopes and not self.sees_all:
            text = f"the scope {scope.value!r} is needed, this token has: {_listed(self.scopes)}"
            raise ForbiddenError(AuthReason.SCOPE_MISSING, text, {"scope": scope.value})

    def check_owner(self, name: str, principal: str) -> None:
        """Raise `ForbiddenError` unless what `principal` owns is the caller's too."""
        if principal != self.principal and not self.sees_all:
            raise not_owner(name)


ANYONE = Caller("", frozenset(Scope))
"""Every caller of a server that asks for no tokens."""

_CURRENT: ContextVar[Caller] = ContextVar("caller")


def enter(caller: Caller) -> None:
    """Make a caller the current one of this task and those that it starts."""
    _CURRENT.set(caller)


def current_caller() -> Caller:
    """Return on whose behalf the current call runs."""
    return _CURRENT.get()


def _listed(scopes: frozenset[Scope]) -> str:
    return ", ".join(sorted(scopes)) or "none"
