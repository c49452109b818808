"""Entry of the `archpress-trainer` command."""

from __future__ import annotations

import os

from archpress_trainer.waiting import waiting


def main() -> None:
    """Run the command."""
    os.environ.update(waiting(os.environ))
    # After that, since it loads torch; and processes that import this module again can do without.
    from archpress_trainer.cli import app

    app()


if __name__ == "__main__":
    main()
