"""Commands for operators, which work on the state itself: no server need run."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, TypeAlias

from archpress_server.config import ServerConfig

if TYPE_CHECKING:
    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]


def add_admin_commands(commands: Commands) -> None:
    """Add `token` and `jobs`; their arguments have `run`, for `run_admin`."""
    from archpress_server.admin.jobs import add_jobs_commands
    from archpress_server.admin.tokens import add_token_commands

    token = commands.add_parser("token", help="make, show and revoke tokens")
    add_token_commands(token.add_subparsers(dest="action", required=True))
    jobs = commands.add_parser("jobs", help="show and cancel jobs")
    add_jobs_commands(jobs.add_subparsers(dest="action", required=True))
    for command in (token, jobs):
        command.set_defaults(print_config=False)


def run_admin(config: ServerConfig, arguments: argparse.Namespace) -> int:
    """Run a command of `add_admin_commands` and return the exit code."""
    from archpress_server.auth.token_file import TokenFileError
    from archpress_server.jobs.errors import StoreError

    try:
        code: int = arguments.run(config, arguments)
    except (StoreError, TokenFileError) as error:
        print(f"archpress-server: {error}", file=sys.stderr)
        return 2
    return code
