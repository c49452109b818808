"""Brings a database to the newest schema, by the scripts in `migrations`."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from archpress_server.jobs.database import Database, Lock, lock
from archpress_server.jobs.errors import DatabaseUnavailableError, StoreSetupError
from archpress_trainer.error_text import first_line

VERSION_TABLE = "archpress_schema"
"""Holds the revision. Not Alembic's own name, which another program's database would have."""


def upgrade(database: Database, revision: str = "head") -> None:
    """Create or upgrade the tables in one transaction, alone among all processes.

    Raises:
        StoreSetupError: the database cannot be written, is newer than this server, or is not
            archpress's.
    """
    try:
        with database.write() as connection:
            lock(connection, Lock.MIGRATE)
            config = _config(connection)
            _check_owner(connection, ScriptDirectory.from_config(config))
            command.upgrade(config, revision)
    except (DatabaseUnavailableError, sa.exc.SQLAlchemyError) as error:
        raise StoreSetupError(f"the database cannot be used: {first_line(error)}") from error


def _config(connection: sa.Connection) -> Config:
    config = Config(attributes={"connection": connection, "version_table": VERSION_TABLE})
    # Alembic reads options as a format string.
    folder = str(Path(__file__).with_name("migrations")).replace("%", "%%")
    config.set_main_option("script_location", folder)
    return config


def _check_owner(connection: sa.Connection, scripts: ScriptDirectory) -> None:
    tables = sa.inspect(connection).get_table_names()
    if VERSION_TABLE not in tables:
        if tables:
            raise StoreSetupError(
                f"the database holds other tables ({', '.join(sorted(tables)[:5])}) and no "
                f"{VERSION_TABLE}: give archpress a database or schema of its own"
            )
        return
    known = {script.revision for script in scripts.walk_revisions()}
    found = connection.scalars(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")).all()
    if not set(found) <= known:
        raise StoreSetupError(
            f"the database has schema {', '.join(sorted(found))}, this server knows those up to "
            f"{max(known)}: run the newer server"
        )
