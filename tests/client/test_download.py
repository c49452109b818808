"""Downloads give the promised bytes, whole, or an error and no file."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archpress_client import (
    DownloadError,
    InvalidRequestError,
    NotFoundError,
    QuotaExceededError,
    Retry,
    UnavailableError,
)
from archpress_client._download import Download, PartFile
from archpress_proto.v1.artifact_service_pb2 import Artifact, DownloadArtifactResponse

SHA256 = hashlib.sha256(b"hello world").hexdigest()


def start(sha256: str = "") -> Download:
    return Download("artifacts/1", Retry(stream_attempts=3), Random(0), sha256=sha256)


def info(size_bytes: int = 11, sha256: str = SHA256) -> DownloadArtifactResponse:
    return DownloadArtifactResponse(info=Artifact(size_bytes=size_bytes, sha256=sha256))


def data(chunk: bytes) -> DownloadArtifactResponse:
    return DownloadArtifactResponse(data=chunk)


@given(st.binary(min_size=1, max_size=60), st.lists(st.integers(0, 20), max_size=6))
def test_any_cuts_give_the_same_bytes(model: bytes, cuts: list[int]) -> None:
    digest = hashlib.sha256(model).hexdigest()
    download = Download("artifacts/1", Retry(), Random(0))
    received = b""
    for cut in [*cuts, len(model)]:
        request = download.request()
        assert request.read_offset == len(received)
        assert request.if_sha256 == (digest if received else "")
        received += download.feed(info(len(model), digest))
        received += download.feed(data(model[request.read_offset :][:cut]))
        if download.ended(UnavailableError("cut")) is None:
            break
    assert received == model


def test_an_early_ok_is_resumed() -> None:
    download = start()
    download.feed(info())
    download.feed(data(b"hello"))
    assert download.ended(None) is not None
    assert download.request().read_offset == 5
    assert download.request().if_sha256 == SHA256


def test_a_fault_after_the_last_byte_does_not_matter() -> None:
    download = start()
    download.feed(info())
    download.feed(data(b"hello world"))
    assert download.ended(UnavailableError("cut")) is None


def test_wrong_bytes_are_refused() -> None:
    download = start()
    download.feed(info())
    download.feed(data(b"hello w0rld"))
    with pytest.raises(DownloadError, match="the bytes have SHA-256"):
        download.ended(None)


def test_another_file_than_certified_is_refused() -> None:
    with pytest.raises(DownloadError, match="not abc"):
        start("abc").feed(info())


def test_faults_of_the_stream_are_refused() -> None:
    with pytest.raises(DownloadError, match="before the description"):
        start().feed(data(b"x"))
    download = start()
    download.feed(info())
    with pytest.raises(DownloadError, match="more bytes"):
        download.feed(data(b"hello world!"))
    with pytest.raises(DownloadError, match="size changed"):
        download.feed(info(12))


def test_when_to_give_up() -> None:
    with pytest.raises(NotFoundError):
        start().ended(NotFoundError("gone"))
    with pytest.raises(InvalidRequestError):
        start().ended(InvalidRequestError("bad name"))
    download = start()
    download.feed(info())
    download.feed(data(b"hello"))
    download.ended(None)
    download.ended(None)
    with pytest.raises(UnavailableError):
        download.ended(None)


def test_too_many_requests_are_waited_for_where_the_server_says_how_long() -> None:
    limited = QuotaExceededError("often", reason="RATE_LIMITED", retry_after_seconds=9.0)
    assert start().ended(limited) == 9.0
    with pytest.raises(QuotaExceededError):
        start().ended(QuotaExceededError("no room", retry_after_seconds=9.0))


def test_a_file_that_changed_meanwhile() -> None:
    download = start()
    download.feed(info())
    download.feed(data(b"hello"))
    with pytest.raises(DownloadError, match="changed on the server"):
        download.ended(InvalidRequestError("if_sha256"))


def test_files_appear_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "small.onnx"
    path.write_bytes(b"old")

    part = PartFile(path)
    part.open().write(b"half")
    part.abandon()
    assert path.read_bytes() == b"old"
    part = PartFile(path)
    part.open().write(b"new")
    assert path.read_bytes() == b"old"
    part.finish()
    part.abandon()
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_link_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    there, link = tmp_path / "models" / "small.onnx", tmp_path / "latest.onnx"
    there.write_bytes(b"old")
    link.symlink_to(there)
    part = PartFile(link)
    part.open().write(b"new")
    part.finish()
    assert link.is_symlink()
    assert there.read_bytes() == b"new"
    assert list(there.parent.iterdir()) == [there]


def test_a_file_that_was_abandoned_is_not_made_afterwards(tmp_path: Path) -> None:
    part = PartFile(tmp_path / "small.onnx")
    part.abandon()
    with pytest.raises(ValueError, match="was abandoned"):
        part.open()
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_file_is_left_as_it_is(tmp_path: Path) -> None:
    pipe, folder = tmp_path / "pipe", tmp_path / "folder"
    os.mkfifo(pipe)
    folder.mkdir()
    for path, text in ((pipe, "is a device or a pipe"), (folder, "is a folder")):
        with pytest.raises(OSError, match=text) as caught:
            PartFile(path)
        assert caught.value.filename == str(path)
    assert pipe.is_fifo()
    with pytest.raises(OSError, match="there is no folder"):
        PartFile(tmp_path / "no" / "small.onnx")


def test_the_longest_name_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    part = PartFile(path)
    part.open().write(b"model")
    part.finish()
    assert path.read_bytes() == b"model"


def test_a_full_disk_keeps_no_part(tmp_path: Path) -> None:
    part = PartFile(tmp_path / "small.onnx")
    part.open().write(b"model")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            part.finish()
        part.abandon()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []
