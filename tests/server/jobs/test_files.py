"""Files by content: one contract for a folder, for memory and for S3."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from archpress_server.jobs.errors import FilesUnavailableError, StoreSetupError
from archpress_server.jobs.files import Files
from tests.disks import mounted_disk
from tests.server.object_store import BUCKET, ObjectStore, running_object_store

CONTENT = b"0123456789"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(scope="module")
def object_store() -> Iterator[ObjectStore]:
    with running_object_store() as store:
        yield store


@pytest.fixture(params=["file", "memory", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder of each kind, empty, that `prepare` can make ready."""
    if request.param == "file":
        return f"file://{tmp_path / 'new'}"
    if request.param == "memory":
        MemoryFileSystem.store.clear()
        return "memory://artifacts"
    request.getfixturevalue("object_store")
    return f"s3://{BUCKET}/{tmp_path.name}"


@pytest.fixture
def files(url: str) -> Files:
    files = Files(url)
    files.prepare()
    return files


class TestContract:
    def test_bytes_come_back_in_any_range(self, files: Files) -> None:
        assert files.put(CONTENT) == SHA256
        assert files.read(SHA256, 0, 100) == CONTENT
        assert files.read(SHA256, 3, 4) == b"3456"
        assert files.read(SHA256, 9, 4) == b"9"
        assert files.read(SHA256, 10, 4) == b""
        assert files.read(SHA256, 20, 4) == b""

    def test_large_and_empty_files_are_kept_too(self, files: Files) -> None:
        large = os.urandom(12_000_000)
        for content in (large, b""):
            name = files.put(content)
            assert files.read(name, 0, len(content) + 1) == content
            assert files.check(name, len(content))

    def test_another_process_would_find_them(self, files: Files, url: str) -> None:
        files.put(CONTENT)
        assert Files(url).read(SHA256, 0, 100) == CONTENT

    def test_a_check_asks_for_the_size(self, files: Files) -> None:
        assert not files.check(SHA256, 10)
        files.put(CONTENT)
        assert files.check(SHA256, 10)
        assert not files.check(SHA256, 11)

    def test_putting_and_deleting_again_do_no_harm(self, files: Files) -> None:
        assert files.put(CONTENT) == files.put(CONTENT)
        for _ in range(2):
            files.delete(SHA256)
        with pytest.raises(FileNotFoundError):
            files.read(SHA256, 0, 1)
        assert not files.check(SHA256, 10)
        assert files.put(CONTENT) == SHA256
        assert files.read(SHA256, 0, 100) == CONTENT

    def test_preparing_again_keeps_everything(self, files: Files, url: str) -> None:
        files.put(CONTENT)
        Files(url).prepare()
        assert files.check(SHA256, 10)

    def test_a_store_that_was_not_prepared_is_no_empty_one(self, url: str) -> None:
        with pytest.raises(FilesUnavailableError, match="is not there"):
            Files(url).read(SHA256, 0, 1)
        with pytest.raises(FilesUnavailableError, match="is not there"):
            Files(url).check(SHA256, 1)


def test_a_full_disk_is_unavailable_and_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = Files(f"file://{tmp_path}")
    files.prepare()
    files.put(CONTENT)
    before = sorted(tmp_path.rglob("*"))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        for content in (CONTENT, b"other"):
            with pytest.raises(FilesUnavailableError, match="No space left on device"):
                files.put(content)
    assert [path for path in sorted(tmp_path.rglob("*")) if path.is_file()] == [
        path for path in before if path.is_file()
    ]
    assert files.read(SHA256, 0, 100) == CONTENT
    assert files.read(files.put(b"other"), 0, 100) == b"other"


def fill(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def test_a_disk_that_is_really_full_serves_again_once_there_is_room(tmp_path: Path) -> None:
    with mounted_disk(tmp_path / "disk", "512k") as disk:
        files = Files(f"file://{disk}")
        files.prepare()
        first = files.put(bytes(300_000))
        with pytest.raises(FilesUnavailableError, match="No space left on device"):
            files.put(b"1" * 300_000)
        assert files.read(first, 0, 300_000) == bytes(300_000)
        fill(disk / "filler")
        with pytest.raises(StoreSetupError, match="cannot be written: No space left"):
            files.prepare()
        (disk / "filler").unlink()
        files.delete(first)
        assert files.check(files.put(b"1" * 300_000), 300_000)


def test_a_folder_that_went_away_is_not_made_anew(tmp_path: Path) -> None:
    files = Files(f"file://{tmp_path / 'mounted'}")
    files.prepare()
    (tmp_path / "mounted").rename(tmp_path / "elsewhere")
    with pytest.raises(FilesUnavailableError, match="is not there"):
        files.put(CONTENT)
    assert not (tmp_path / "mounted").exists()
    (tmp_path / "elsewhere").rename(tmp_path / "mounted")
    assert files.put(CONTENT) == SHA256


def test_what_a_crash_left_half_written_is_cleared_away(tmp_path: Path) -> None:
    old, fresh = tmp_path / "ab" / ".new-1", tmp_path / "ab" / ".new-2"
    old.parent.mkdir()
    old.write_bytes(b"half")
    fresh.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    files = Files(f"file://{tmp_path}")
    files.prepare()
    assert (old.exists(), fresh.exists()) == (False, True)
    os.utime(fresh, (time.time() - 7200,) * 2)
    files.clear()
    assert fresh.exists()
    Files(f"file://{tmp_path}").clear()
    assert not fresh.exists()


def test_a_missing_bucket_is_told_and_never_created(object_store: ObjectStore) -> None:
    with pytest.raises(StoreSetupError, match=r"artifacts_url s3://absent/a .*does not exist"):
        Files("s3://absent/a").prepare()
    assert [b["Name"] for b in object_store.client.list_buckets()["Buckets"]] == [BUCKET]


def test_a_bucket_that_goes_away_is_no_damaged_file(object_store: ObjectStore) -> None:
    object_store.client.create_bucket(Bucket="short-lived")
    files = Files("s3://short-lived/a")
    files.prepare()
    files.put(CONTENT)
    for key in object_store.client.list_objects_v2(Bucket="short-lived")["Contents"]:
        object_store.client.delete_object(Bucket="short-lived", Key=key["Key"])
    object_store.client.delete_bucket(Bucket="short-lived")
    with pytest.raises(FilesUnavailableError, match="is not there"):
        files.read(SHA256, 0, 1)
    with pytest.raises(FilesUnavailableError, match="is not there"):
        files.put(CONTENT)


def test_a_server_that_is_away_is_unavailable_until_it_is_back(object_store: ObjectStore) -> None:
    files = Files(f"s3://{BUCKET}/outage")
    files.prepare()
    files.put(CONTENT)
    object_store.stop()
    try:
        for call in (
            lambda: files.put(CONTENT),
            lambda: files.read(SHA256, 0, 1),
            lambda: files.check(SHA256, 10),
            lambda: files.delete(SHA256),
        ):
            with pytest.raises(FilesUnavailableError):
                call()
        with pytest.raises(StoreSetupError, match="artifacts_url s3://models/outage cannot be"):
            Files(f"s3://{BUCKET}/outage").prepare()
    finally:
        object_store.start()
    assert files.put(CONTENT) == SHA256
    assert files.read(SHA256, 0, 10) == CONTENT


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("nonsense://bucket/a", "Protocol not known: nonsense"),
        ("gs://bucket/a", "install gcsfs"),
    ],
)
def test_what_cannot_be_opened_is_named(
    url: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(StoreSetupError, match=f"artifacts_url {url}.*{text}"):
        Files(url)


def test_a_missing_s3fs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsspec.url_to_fs", _without_s3fs)
    with pytest.raises(StoreSetupError, match=r"artifacts_url s3://b/a: .*s3fs"):
        Files("s3://b/a")


def _without_s3fs(url: str, **options: object) -> None:
    raise ImportError("no module")


def test_a_store_that_is_silent_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, asked = Files(f"file://{tmp_path}"), []

    def silent(*_: object, **__: object) -> None:
        asked.append(1)
        raise TimeoutError("read timeout")

    for name in ("cat_file", "size"):
        monkeypatch.setattr(LocalFileSystem, name, silent)
    with pytest.raises(FilesUnavailableError, match="read timeout"):
        files.read(SHA256, 0, 10)
    assert len(asked) == 1


def test_a_file_that_another_server_has_just_finished_is_no_fault(tmp_path: Path) -> None:
    files = Files(f"file://{tmp_path / 'new'}")
    files.prepare()
    files.put(CONTENT)
    # Found by its name, and gone when it is looked at.
    (tmp_path / "new" / SHA256[:2] / ".new-a").symlink_to(tmp_path / "nowhere")
    files.prepare()
