"""Bad databases: one sentence, and nothing is written over."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from pathlib import Path

import pytest
from sqlalchemy import event

from autocompress.errors import StorageError
from autocompress.files import write_text
from autocompress.store import default_storage_path, open_store
from autocompress.store.location import locate


def one_sentence(error: pytest.ExceptionInfo[StorageError]) -> str:
    text = str(error.value)
    assert error.value.exit_code == 2
    assert "\n" not in text
    assert "Traceback" not in text
    assert "sqlalche" not in text.lower()
    return text


@pytest.mark.parametrize("content", [b"hello, this is a text file\n" * 50, b"x", os.urandom(4096)])
def test_not_a_database(tmp_path, content):
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(StorageError, match="not a study database") as error:
        open_store(path)
    one_sentence(error)
    assert path.read_bytes() == content


def test_another_programs_database(tmp_path):
    path = tmp_path / "browser.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE history (url TEXT)")
    before = path.read_bytes()
    for create in (True, False):
        with pytest.raises(StorageError, match="database of another program") as error:
            open_store(path, create=create)
        one_sentence(error)
    assert path.read_bytes() == before


def test_damaged(tmp_path, new_study):
    path = tmp_path / "a.db"
    with open_store(path) as store:
        store.create_study(new_study())
    content = bytearray(path.read_bytes())
    content[200:] = os.urandom(len(content) - 200)
    path.write_bytes(content)
    with pytest.raises(StorageError, match="damaged") as error, open_store(path, create=False) as store:
        store.load("mobilenet")
    one_sentence(error)


def test_newer_schema(tmp_path):
    path = tmp_path / "a.db"
    open_store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO autocompress_schema_version VALUES (99, '2030-01-01 00:00:00', '9.0')")
    before = path.read_bytes()
    for create in (True, False):
        with pytest.raises(StorageError, match=r"newer autocompress .schema 99") as error:
            open_store(path, create=create)
        one_sentence(error)
    assert path.read_bytes() == before


def test_nothing_there(tmp_path):
    with pytest.raises(StorageError, match="there is no study database"):
        open_store(tmp_path / "absent.db", create=False)
    (tmp_path / "empty.db").touch()
    with pytest.raises(StorageError, match="holds no studies"):
        open_store(tmp_path / "empty.db", create=False)
    assert os.listdir(tmp_path) == ["empty.db"]


def test_locked_by_another_writer(tmp_path, new_study):
    path = tmp_path / "a.db"
    with open_store(path, lock_wait_s=0.3) as store:
        store.create_study(new_study())
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        begin = time.perf_counter()
        with pytest.raises(StorageError, match="locked by another program") as error:
            store.record_event("mobilenet", "search", "x")
        assert 0.2 < time.perf_counter() - begin < 3
        one_sentence(error)
        assert store.load("mobilenet").events == ()  # reading goes on beside a writer
        with pytest.raises(StorageError, match="locked"):
            open_store(path, lock_wait_s=0.1)
        other.execute("ROLLBACK")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageError, match="locked"):
            store.load("mobilenet")
        with pytest.raises(StorageError, match="locked"):
            store.optuna_study("mobilenet")
        other.close()
        store.record_event("mobilenet", "search", "x")


def test_full_disk(tmp_path, new_study):
    with open_store(tmp_path / "a.db") as store:
        store.create_study(new_study())

        @event.listens_for(store.engine, "connect")
        def limit(connection, _record):
            connection.execute("PRAGMA max_page_count = 1")  # SQLite then answers as on a full disk

        with pytest.raises(StorageError, match="disk is full") as error:
            store.record_event("mobilenet", "search", "x" * 100_000)
        one_sentence(error)
        event.remove(store.engine, "connect", limit)
        assert store.load("mobilenet").events == ()


@pytest.fixture
def unprivileged():
    """A folder of a user whom file permissions hold back (root is not)."""
    folder = Path(tempfile.mkdtemp(prefix="autocompress-test-"))
    user = os.geteuid()
    if user == 0:
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
    try:
        yield folder
    finally:
        os.seteuid(user)
        shutil.rmtree(folder)


def test_read_only_file_and_folder(unprivileged, new_study):
    path = unprivileged / "a.db"
    with open_store(path) as store:
        store.create_study(new_study())
    path.chmod(0o444)
    unprivileged.chmod(0o555)
    with open_store(path, create=False) as store:  # reading is all that reports need
        assert store.load("mobilenet").header.name == "mobilenet"
        with pytest.raises(StorageError, match=r"cannot be written to|cannot be opened") as error:
            store.record_event("mobilenet", "search", "x")
        one_sentence(error)
    with pytest.raises(StorageError, match=r"cannot be written to|cannot be opened"):
        open_store(path)
    with pytest.raises(StorageError, match="cannot be opened"):
        open_store(unprivileged / "new.db")
    with pytest.raises(StorageError, match="cannot be made"):
        open_store(unprivileged / "folder" / "new.db")
    with pytest.raises(StorageError, match=r"cannot be written .Permission denied"):
        write_text(unprivileged / "x.json", "{}")
    unprivileged.chmod(0o755)


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("", "storage is empty"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("nonsense://x y", "no database URL|could not be used"),
        ("://", "no database URL"),
        ("a{b}.db", "contains '{'"),
    ],
)
def test_places_that_cannot_be(place, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError, match=sentence):
        open_store(place)
    assert os.listdir(tmp_path) == []


def test_a_folder_is_no_database(tmp_path):
    with pytest.raises(StorageError, match=r"is a folder; give a file such as .*autocompress\.db"):
        open_store(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be made"):
        open_store(tmp_path / "file" / "a.db")


def test_a_server_without_its_driver_is_named():
    with pytest.raises(StorageError, match="which is not installed") as error:
        open_store("postgresql+pg8000://user:secret@host/db")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("name", ["a b.db", "100%20.db", "q?.db", "h#.db", "ü.db", "..x.db"])
def test_odd_names_stay_one_file(tmp_path, new_study, name):
    import optuna

    with open_store(tmp_path / name) as store:
        store.create_study(new_study())
        store.optuna_study("mobilenet")
        assert locate(store.location.url_text).path == store.location.path
        assert optuna.get_all_study_names(store.location.url_text) == ["mobilenet"]
    assert os.listdir(tmp_path) == [name]


def test_relative_places_stay_where_they_were(tmp_path, monkeypatch, new_study):
    monkeypatch.chdir(tmp_path)
    with open_store("sqlite:///a.db") as store:
        monkeypatch.chdir("/")
        store.create_study(new_study())
        store.optuna_study("mobilenet")
    assert default_storage_path(tmp_path) == tmp_path / "autocompress.db"
    assert os.listdir(tmp_path) == ["a.db"]
