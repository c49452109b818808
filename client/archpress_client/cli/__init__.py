"""The command `archpress`.

Exit codes: 0 done, 1 the job failed or something else went wrong, 2 bad usage or a refused request,
3 the server cannot be reached, 130 interrupted.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command with the process's arguments."""
    try:
        from archpress_client.cli import _app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"typer", "rich", "click"}:
            raise
        print("archpress needs more packages: pip install 'archpress-client[cli]'", file=sys.stderr)
        sys.exit(2)
    _app.app()
