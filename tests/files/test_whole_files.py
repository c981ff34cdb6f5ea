"""Files that appear whole or not at all, on a real file system with a real limit on file sizes."""

from __future__ import annotations

import os
import resource
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from autocompress.errors import StorageError
from autocompress.files import Replacement, remove_remains, replacing, write_bytes, write_text


@contextmanager
def files_limited_to(size_bytes: int) -> Iterator[None]:
    """No file of this process may grow beyond that: what a full disk looks like to a writer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_text_and_bytes_arrive(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "wörking\n")
    write_bytes(tmp_path / "b", b"\0\xff")
    assert (tmp_path / "a").read_bytes() == "wörking\n".encode()
    assert (tmp_path / "b").read_bytes() == b"\0\xff"
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_the_old_file_is_there_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a"]


def test_a_failure_leaves_the_old_file_and_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("size", [5_000, 5_000_000], ids=["fails when flushed", "fails while written"])
def test_a_full_disk_leaves_the_old_file_and_no_trace(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with files_limited_to(4096), pytest.raises(StorageError, match=r"a cannot be written .File too large.; give"):
        write_bytes(path, b"x" * size)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]
    write_bytes(path, b"x" * size)
    assert path.stat().st_size == size


def test_permissions_are_those_of_any_new_file_or_of_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    path = tmp_path / "a"
    write_text(path, "1")
    assert mode(path) == mode(tmp_path / "usual")
    path.chmod(0o640)
    write_text(path, "2")
    assert (mode(path), path.read_text()) == (0o640, "2")


def test_folders_and_missing_folders_are_no_places(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for place in (tmp_path / "folder", tmp_path / "none" / "a", tmp_path / "folder" / ".." / "none" / "a"):
        with pytest.raises(StorageError, match="cannot be written"):
            write_text(place, "x")
    assert os.listdir(tmp_path) == ["folder"]
    assert os.listdir(tmp_path / "folder") == []


def test_a_link_is_replaced_and_what_it_points_to_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "a").symlink_to(tmp_path / "precious")
    write_text(tmp_path / "a", "new")
    assert (tmp_path / "precious").read_text() == "precious"
    assert (tmp_path / "a").read_text() == "new"
    assert not (tmp_path / "a").is_symlink()


def test_it_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, _name=name, _real=real: (calls.append(_name), _real(*a)))
    write_text(tmp_path / "a", "x")
    assert calls == ["fsync", "replace", "fsync"]  # the file, its name, the folder
    calls.clear()
    with replacing(tmp_path / "b", durable=False) as file:
        file.write(b"x")
    assert calls == ["replace"]


def test_discarding_twice_or_after_completing_does_no_harm(tmp_path: Path) -> None:
    replacement = Replacement(tmp_path / "a")
    replacement.file.write(b"x")
    replacement.complete()
    replacement.discard()
    replacement.discard()
    assert (tmp_path / "a").read_text() == "x"


def test_what_killed_processes_left_can_be_removed(tmp_path: Path) -> None:
    for name in ("a[1]", "b"):
        Replacement(tmp_path / name).file.close()
    write_text(tmp_path / "a[1]", "x")
    assert len(os.listdir(tmp_path)) == 3
    remove_remains(tmp_path / "a[1]")
    remaining = sorted(os.listdir(tmp_path))
    assert remaining[1:] == ["a[1]"]
    assert remaining[0].startswith(".b.")
