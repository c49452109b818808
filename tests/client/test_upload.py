"""Uploads: whole, in order, repeated after a fault, refused with the reason."""

from __future__ import annotations

import hashlib
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from google.rpc import status_pb2

from archpress_client import Client, InvalidRequestError, UnavailableError
from tests.client.scripted import ScriptedServer
from tests.client.told_jobs import MODEL, error_status


def test_a_file_is_sent_whole(client: Client, server: ScriptedServer, tmp_path: Path) -> None:
    path = tmp_path / "mine.onnx"
    path.write_bytes(MODEL)
    uploaded = client.upload(path)
    (sent,) = server.asked("UploadModel")
    assert sent[0].header.size_bytes == len(MODEL)
    assert sent[0].header.sha256 == hashlib.sha256(MODEL).hexdigest() == uploaded.sha256
    assert all(0 < len(message.data) <= 256 * 1024 for message in sent[1:])
    assert b"".join(message.data for message in sent[1:]) == MODEL
    assert (uploaded.artifact, uploaded.display_name) == ("artifacts/up", "mine.onnx")
    assert uploaded.expire_time == datetime.fromtimestamp(1_800_000_000, UTC)
    assert uploaded.network.classes == 10


def test_bytes_may_have_a_name(client: Client) -> None:
    assert client.upload(MODEL).display_name == ""
    assert client.upload(MODEL, display_name="mine").display_name == "mine"


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text elsewhere")
def test_a_files_name_need_not_be_text(
    client: Client, server: ScriptedServer, tmp_path: Path
) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.onnx")
    path.write_bytes(MODEL)
    assert client.upload(path).display_name == "caf\ufffd.onnx"
    with pytest.raises(InvalidRequestError, match=r"display_name: is .*, must be a text"):
        client.upload(MODEL, display_name="caf\udce9")
    assert len(server.asked("UploadModel")) == 1


def test_an_upload_is_repeated_from_its_start(client: Client, server: ScriptedServer) -> None:
    draining, broken = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL
    server.script.refusals = [
        (draining, error_status(draining, "busy", "DRAINING")),
        (broken, status_pb2.Status(message="Internal error from Core")),
    ]
    assert client.upload(MODEL).size_bytes == len(MODEL)
    assert len(server.asked("UploadModel")) == 3


def test_a_refused_model_says_why(client: Client, server: ScriptedServer) -> None:
    code = grpc.StatusCode.INVALID_ARGUMENT
    status = error_status(code, "node 'x' (Selu) cannot be expressed", "INVALID_ARCHITECTURE")
    server.script.refusals = [(code, status)]
    with pytest.raises(InvalidRequestError, match="Selu"):
        client.upload(MODEL)
    assert len(server.asked("UploadModel")) == 1


def test_no_server_is_told() -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(UnavailableError):
        client.upload(MODEL)


def test_a_file_that_is_not_there_is_told_before_any_call(
    client: Client, server: ScriptedServer, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        client.upload(tmp_path / "none.onnx")
    assert server.calls == []
