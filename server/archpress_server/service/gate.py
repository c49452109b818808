"""`Gate`: whether the server takes new work."""

from __future__ import annotations

from dataclasses import dataclass

from archpress_server.service.errors import DrainingError


@dataclass
class Gate:
    """Whether new work is taken."""

    draining: bool = False

    def check(self) -> None:
        """Raise `DrainingError` while the server shuts down."""
        if self.draining:
            raise DrainingError
