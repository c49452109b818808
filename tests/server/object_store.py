"""An S3 server in a thread, to be stopped and started again with what it holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import boto3
from moto.server import ThreadedMotoServer

from tests.ports import free_port

BUCKET = "models"


class ObjectStore:
    """Moto's server with one bucket; `stop` makes it unreachable, `start` brings it back."""

    def __init__(self) -> None:
        self._port = free_port()
        self._endpoint = f"http://127.0.0.1:{self._port}"
        self.start()
        self.client = boto3.client("s3", endpoint_url=self._endpoint)
        self.client.create_bucket(Bucket=BUCKET)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to find the server."""
        return {"AWS_ENDPOINT_URL": self._endpoint, **CREDENTIALS}

    def start(self) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", self._port, verbose=False)
        self._server.start()

    def stop(self) -> None:
        self._server.stop()


CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@contextmanager
def running_object_store() -> Iterator[ObjectStore]:
    """Run a server that this process and its children find."""
    with mock.patch.dict("os.environ", CREDENTIALS):
        store = ObjectStore()
        with mock.patch.dict("os.environ", store.environment):
            yield store
        store.client.close()
        store.stop()
