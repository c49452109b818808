"""Uploaded models: stored once for each principal and content, kept as long as their jobs."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import sqlalchemy as sa

from archpress_server.jobs.database import Lock, lock
from archpress_server.jobs.errors import UploadQuotaError
from archpress_server.jobs.files import file_name
from archpress_server.jobs.model import ArtifactRecord, new_id
from archpress_server.jobs.orphans import keep, let_go, put_loose
from archpress_server.jobs.rows import Row, to_artifact
from archpress_server.jobs.schema import jobs, uploads
from archpress_server.jobs.serialise import dumps
from archpress_server.jobs.store import JobStore
from archpress_trainer.space.costs import count
from archpress_trainer.space.graph import Architecture


@dataclass(frozen=True)
class Uploads:
    """The models that principals brought, in a store; safe in any number of processes."""

    store: JobStore
    max_bytes_per_principal: int = 2**30
    """0 sets no limit."""

    def add(
        self, principal: str, content: bytes, architecture: Architecture, display_name: str
    ) -> ArtifactRecord:
        """Store a file, or keep the one of the same content for longer, and return it.

        Raises:
            UploadQuotaError: the principal's models would take too much room.
            FilesUnavailableError: the file cannot be stored.
        """
        sha256 = file_name(content)
        with self.store.database.read() as connection:
            self._check_room(connection, principal, sha256, len(content))
        put_loose(self.store.database, self.store.files, [content], self.store.clock())
        with self.store.database.write() as connection:
            # Two that upload at one time would each find room, and no file of the same content.
            lock(connection, Lock.UPLOAD)
            now = self.store.clock()
            keep(connection, self.store.files, [content], now)
            expire = now + self.store.retention_seconds
            known = self._of_content(connection, principal, sha256)
            if known is not None:
                until = max(expire, known["expire_time"])
                row = {**known, "expire_time": until, "display_name": display_name}
                changed = uploads.update().where(uploads.c.id == row["id"])
                connection.execute(changed.values(expire_time=until, display_name=display_name))
                return to_artifact(row)
            self._check_room(connection, principal, sha256, len(content))
            row = {
                "id": new_id(),
                "principal": principal,
                "sha256": sha256,
                "size_bytes": len(content),
                "architecture": dumps(architecture.to_json()),
                "costs": dumps(asdict(count(architecture))),
                "display_name": display_name,
                "create_time": now,
                "expire_time": expire,
            }
            connection.execute(uploads.insert().values(**row))
            return to_artifact(row)

    def purge(self) -> int:
        """Remove expired models that no job names; return how many.

        Final jobs count: a request that is made again must find its model, or it finds no job.
        """
        now = self.store.clock()
        held = sa.exists().where(jobs.c.upload == uploads.c.id)
        over = sa.and_(uploads.c.expire_time < now, sa.not_(held))
        with self.store.database.write() as connection:
            # A job that is being created for one of them comes before or after this.
            lock(connection, Lock.UPLOAD)
            rows = connection.execute(sa.select(uploads).where(over).limit(100)).mappings().all()
            names = [row["id"] for row in rows]
            connection.execute(uploads.delete().where(uploads.c.id.in_(names)))
            let_go(connection, [row["sha256"] for row in rows])
        return len(rows)

    def _of_content(self, connection: sa.Connection, principal: str, sha256: str) -> Row | None:
        query = sa.select(uploads).where(
            uploads.c.principal == principal, uploads.c.sha256 == sha256
        )
        return connection.execute(query).mappings().one_or_none()

    def _check_room(
        self, connection: sa.Connection, principal: str, sha256: str, size_bytes: int
    ) -> None:
        limit = self.max_bytes_per_principal
        if not limit or self._of_content(connection, principal, sha256) is not None:
            return
        taken = sa.select(sa.func.sum(uploads.c.size_bytes))
        own = connection.scalar(taken.where(uploads.c.principal == principal)) or 0
        if own + size_bytes > limit:
            raise UploadQuotaError(principal, limit, own)
