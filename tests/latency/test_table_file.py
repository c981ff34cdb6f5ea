"""Tables that are profiled into: whatever happens, what was measured is there afterwards."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autocompress.errors import StorageError, TableError
from autocompress.latency.journal import TableFile, load_with_journal
from autocompress.latency.table import LatencyTable

sys.path.append(str(Path(__file__).parent))
from table_parts import (
    DEVICE,
    HEADER,
    MODEL,
    NOBODY,
    files_limited_to,
    invalid,
    keys,
    keys_in,
    names_in,
    record,
    saved,
    signature,
    without_privileges,
)

TWO_THREADS = replace(HEADER, threads=2, clock="wall")


@pytest.fixture
def notices() -> list[str]:
    return []


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "t.jsonl"


@pytest.fixture
def file(path: Path, notices: list[str]) -> TableFile:
    return TableFile(path, HEADER, notices.append)


def journal_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.journal")


def test_what_was_measured_is_there_at_once_and_stays_when_folded_in(path: Path, file: TableFile) -> None:
    file.append(record(8))
    file.append_model("resnet", MODEL)
    other = TableFile(path, HEADER).load()
    assert other.find(signature(8)) == record(8)
    assert other.models == {"resnet": MODEL}
    assert len(LatencyTable.load(path)) == 0
    table, pending = load_with_journal(path)
    assert (keys_in(table), table.models, pending) == (keys(8), {"resnet": MODEL}, 2)
    assert len(file.compact()) == 1
    table = LatencyTable.load(path)
    assert (keys_in(table), table.models) == (keys(8), {"resnet": MODEL})
    assert names_in(path.parent) == ["t.jsonl"]
    assert load_with_journal(path)[1] == 0


def test_looking_makes_nothing(path: Path, file: TableFile) -> None:
    assert len(file.load()) == 0
    assert list(path.parent.iterdir()) == []


def test_of_two_records_the_better_counts_and_of_two_models_the_last(path: Path, file: TableFile) -> None:
    saved(path, record(8, 2.0), record(9, 2.0))
    for each in (record(8, 1.5), record(8, 1.8), invalid(9), invalid(10)):
        file.append(each)
    for latency_us in (100.0, 120.0):
        file.append_model("m", replace(MODEL, latency_us=latency_us))
    table = file.load()
    assert [r.minimum_us for w in (8, 9) if (r := table.find(signature(w)))] == [1.5, 2.0]
    assert table.record(signature(10)) == invalid(10)
    assert table.models["m"].latency_us == 120.0


def test_impossible_times_never_reach_the_disk(path: Path, file: TableFile) -> None:
    with pytest.raises(ValueError, match="minimum_us is nan"):
        file.append(replace(record(8), minimum_us=float("nan")))
    assert list(path.parent.iterdir()) == []


def test_half_a_line_is_dropped_with_a_notice_and_nothing_else_is_lost(
    path: Path, file: TableFile, notices: list[str]
) -> None:
    file.append(record(8))
    journal = journal_of(path)
    journal.write_bytes(journal.read_bytes() + record(9).to_line().encode()[:50])
    assert file.load().find(signature(9)) is None
    assert notices == ["t.jsonl.journal line 3 is cut short and was dropped: it is measured again"]
    file.append(record(10))
    assert keys_in(file.compact()) == keys(8, 10)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (record(9).to_line().replace('"minimum_us":2.0', '"minimum_us":NaN'), "minimum_us is nan"),
        (record(9).to_line().replace("Gemm", "Conv"), "does not belong to its signature"),
        ("\0" * 100, "is cut short"),
    ],
)
def test_an_impossible_line_in_a_journal_is_dropped_with_a_notice(
    path: Path, file: TableFile, notices: list[str], line: str, reason: str
) -> None:
    file.append(record(8))
    with journal_of(path).open("a") as journal:
        journal.write(f"{line}\n{record(10).to_line()}\n")
    assert keys_in(file.compact()) == keys(8, 10)
    assert len(notices) == 1
    assert "t.jsonl.journal line 3" in notices[0]
    assert reason in notices[0]


def test_a_journal_of_the_first_version_is_taken_in(path: Path, file: TableFile) -> None:
    saved(path, record(8))
    journal_of(path).write_text(record(9).to_line() + "\n")
    assert keys_in(file.compact()) == keys(8, 9)


def test_a_table_of_schema_1_becomes_one_file(path: Path, file: TableFile) -> None:
    from test_table import as_schema_1

    as_schema_1(saved(path, record(8), a=MODEL))
    assert names_in(path.parent) == ["t.jsonl", "t.models.jsonl"]
    file.append(record(9))
    file.append_model("b", MODEL)
    table = file.compact()
    assert (keys_in(table), table.models) == (keys(8, 9), {"a": MODEL, "b": MODEL})
    assert names_in(path.parent) == ["t.jsonl"]
    assert LatencyTable.load(path).models == table.models


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (TWO_THREADS, "threads is 2 here and 1 there; clock is wall here and cpu there"),
        (replace(HEADER, runtime="openvino"), "runtime is openvino here and onnxruntime there"),
        (replace(HEADER, runtime_version="2"), r"runtime version is 2 here and 1\.31\.1 there"),
        (replace(HEADER, device=replace(DEVICE, isa=("avx2",))), r"device is amd-25-17-avx2 here and .*fma there"),
        (replace(HEADER, method="in place"), "method is in place here and slope there"),
    ],
)
def test_profiling_into_a_table_of_something_else_is_refused(path: Path, other: object, message: str) -> None:
    before = saved(path, record(8)).read_text()
    with pytest.raises(TableError, match=rf"t\.jsonl cannot be profiled into: {message}"):
        TableFile(path, other).load()  # type: ignore[arg-type]
    assert path.read_text() == before


def test_a_table_that_is_replaced_while_in_use(path: Path, file: TableFile, notices: list[str]) -> None:
    file.append(record(8))
    saved(path, record(9))  # another file of the same kind: both count
    file.append(record(10))
    assert keys_in(file.compact()) == keys(8, 9, 10)
    file.append(record(11))
    path.unlink()  # or none at all
    assert keys_in(file.load()) == keys(11)
    saved(path, record(12), header=TWO_THREADS)  # one of something else
    with pytest.raises(TableError, match=r"threads is 1 here .*; what was measured is kept in t\.jsonl\.journal"):
        file.compact()
    before = journal_of(path).read_text()
    # Whoever the new table belongs to does not get records of another thread count, and they are not lost either.
    theirs = TableFile(path, TWO_THREADS, notices.append)
    theirs.append(record(13))
    assert keys_in(theirs.compact()) == keys(12, 13)
    assert "is about another table (threads is 2 here and 1 there; " in notices[-1]
    aside = path.with_name("t.jsonl.journal.set-aside")
    assert aside.name in notices[-1]
    assert aside.read_text() == before
    path.unlink()
    aside.rename(journal_of(path))
    assert keys_in(file.compact()) == keys(11)


def test_looking_at_a_table_does_not_take_in_a_journal_of_another(path: Path, file: TableFile) -> None:
    file.append(record(8))
    saved(path, record(9), header=TWO_THREADS)
    table, pending = load_with_journal(path)
    assert (keys_in(table), pending) == (keys(9), 0)
    assert journal_of(path).exists()


def test_a_link_is_followed_and_stays_one(path: Path, notices: list[str]) -> None:
    folder = path.parent / "elsewhere"
    folder.mkdir()
    real = saved(folder / "real.jsonl", record(8))
    path.symlink_to(real)
    by_link, by_name = TableFile(path, HEADER), TableFile(real, HEADER)
    by_link.append(record(9))
    by_name.append(record(10))
    assert names_in(folder) == ["real.jsonl", "real.jsonl.journal"]
    assert keys_in(load_with_journal(path)[0]) == keys(8, 9, 10)
    assert keys_in(by_link.compact()) == keys(8, 9, 10)
    assert path.is_symlink()
    assert keys_in(LatencyTable.load(real)) == keys(8, 9, 10)


def test_a_link_to_nothing_gets_its_target(path: Path) -> None:
    path.symlink_to(path.parent / "new" / "real.jsonl")
    TableFile(path, HEADER).append(record(8))
    assert keys_in(TableFile(path, HEADER).compact()) == keys(8)
    assert path.is_symlink()
    assert (path.parent / "new" / "real.jsonl").is_file()


def test_a_table_of_a_newer_version_is_neither_read_nor_touched(path: Path, file: TableFile) -> None:
    saved(path, record(8))
    file.append(record(9))
    newer = path.read_text().replace('"schema":2', '"schema":3')
    path.write_text(newer)
    for use in (file.load, file.compact):
        with pytest.raises(TableError, match="newer than 2"):
            use()
    assert path.read_text() == newer
    assert names_in(path.parent) == ["t.jsonl", "t.jsonl.journal"]


def spoil(path: Path) -> str:
    """Damages one of three operators, and cuts the file off; returns it."""
    saved(path, record(8), record(9), record(10), resnet=MODEL)
    text = path.read_text().replace(record(9).to_line(), record(9).to_line().replace("Gemm", "Conv"))[:-5]
    path.write_text(text)
    return text


def test_a_damaged_table_is_set_aside_and_what_is_readable_counts(
    path: Path, file: TableFile, notices: list[str]
) -> None:
    damaged = spoil(path)
    file.append(record(11))
    table = file.load()
    assert (keys_in(table), table.models) == (keys(8, 10, 11), {"resnet": MODEL})
    [notice] = notices
    assert notice.startswith("t.jsonl is damaged (t.jsonl line ")
    assert notice.endswith(
        "its 2 readable operators and 1 whole models count, and the damaged file is kept as t.jsonl.set-aside"
    )
    assert "and 2 more faults" in notice
    assert path.with_name("t.jsonl.set-aside").read_text() == damaged
    assert keys_in(LatencyTable.load(path)) == keys(8, 10)
    assert keys_in(file.compact()) == keys(8, 10, 11)
    assert len(notices) == 1


def test_a_second_damage_does_not_overwrite_what_was_set_aside(path: Path, file: TableFile) -> None:
    first = spoil(path)
    file.load()
    second = path.read_text().replace("Gemm", "Conv")
    path.write_text(second)
    assert len(file.load()) == 0
    assert path.with_name("t.jsonl.set-aside").read_text() == first
    assert path.with_name("t.jsonl.set-aside-2").read_text() == second


@pytest.mark.parametrize("content", [b"", os.urandom(5000), b"\0" * 5000], ids=["empty", "rubbish", "zeros"])
def test_a_table_with_nothing_readable_costs_no_more_than_itself(
    path: Path, file: TableFile, notices: list[str], content: bytes
) -> None:
    file.append(record(8))
    path.write_bytes(content)
    assert keys_in(file.compact()) == keys(8)
    assert path.with_name("t.jsonl.set-aside").read_bytes() == content
    assert len(notices) == 1


def test_records_without_a_header_count_only_where_the_name_says_what_they_are_about(
    tmp_path: Path, notices: list[str]
) -> None:
    named, strange = tmp_path / f"{HEADER.stem}.jsonl", tmp_path / "t.jsonl"
    for path in (named, strange):
        saved(path, record(8))
        path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    assert keys_in(TableFile(named, HEADER, notices.append).load()) == keys(8)
    assert keys_in(TableFile(strange, HEADER, notices.append).load()) == set()
    assert "its 1 readable operators" in notices[0]
    assert "nothing in it counts, since nothing says which device it is about, and the damaged file is" in notices[1]
    assert (tmp_path / "t.jsonl.set-aside").is_file()


def test_a_damaged_table_of_something_else_is_refused_and_stays(path: Path) -> None:
    damaged = spoil(path)
    with pytest.raises(TableError, match="cannot be profiled into"):
        TableFile(path, TWO_THREADS).load()
    assert path.read_text() == damaged
    assert names_in(path.parent) == ["t.jsonl"]


def test_a_full_disk_while_folding_in_keeps_the_journal(path: Path, file: TableFile) -> None:
    for width in range(1, 40):
        file.append(record(width))
    file.compact()
    for width in range(40, 50):
        file.append(record(width))
    table, journal = path.read_text(), journal_of(path).read_text()
    assert len(journal) < 8192 < len(table)
    with files_limited_to(8192), pytest.raises(StorageError, match=r"cannot write t\.jsonl in .*: File too large"):
        file.compact()
    assert (path.read_text(), journal_of(path).read_text()) == (table, journal)
    assert names_in(path.parent) == ["t.jsonl", "t.jsonl.journal"]
    assert keys_in(file.compact()) == keys(*range(1, 50))


def test_what_a_killed_process_left_is_removed(path: Path, file: TableFile) -> None:
    file.append(record(8))
    path.with_name(".t.jsonl.0123.partial").write_text("half a table")
    file.compact()
    assert names_in(path.parent) == ["t.jsonl"]


def test_a_full_disk_while_measuring_leaves_no_half_line(path: Path, file: TableFile) -> None:
    file.append(record(8))
    before = journal_of(path).read_text()
    with files_limited_to(len(before) + 20), pytest.raises(StorageError, match=r"cannot write t\.jsonl\.journal: File"):
        file.append(record(9))
    assert journal_of(path).read_text() == before
    file.append(record(10))
    assert keys_in(file.compact()) == keys(8, 10)


@pytest.fixture
def readable() -> Iterator[Path]:
    """A folder that everybody can reach; pytest's own are closed to others."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_folder_that_is_only_read(readable: Path, notices: list[str]) -> None:
    path = readable / "t.jsonl"
    file = TableFile(path, HEADER, notices.append)
    saved(path, record(8))
    file.append(record(9))
    (readable / "t.jsonl.lock").chmod(0o644)
    if os.geteuid() != 0:
        readable.chmod(0o555)
        (readable / "t.jsonl.lock").chmod(0o444)
    with without_privileges():
        assert keys_in(file.load()) == keys(8, 9)  # reading is all that estimates need
        for write in (lambda: file.append(record(10)), file.compact):
            with pytest.raises(StorageError, match=r"cannot write t\.jsonl in .*: Permission denied"):
                write()
        with pytest.raises(StorageError, match="cannot write none"):
            TableFile(readable / "deep" / "none.jsonl", HEADER).append(record(10))
    readable.chmod(0o755)
    assert keys_in(load_with_journal(path)[0]) == keys(8, 9)


def test_a_damaged_table_in_a_folder_that_is_only_read(readable: Path, notices: list[str]) -> None:
    path = readable / "t.jsonl"
    damaged = spoil(path)
    if os.geteuid() != 0:
        readable.chmod(0o555)
    with without_privileges():
        assert keys_in(TableFile(path, HEADER, notices.append).load()) == keys(8, 10)
    readable.chmod(0o755)
    assert path.read_text() == damaged
    assert os.listdir(readable) == ["t.jsonl"]
    assert notices[0].endswith("whole models count")


def test_those_who_may_write_can_share_a_table(readable: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    path = readable / "t.jsonl"
    TableFile(path, HEADER).append(record(8))
    for each in readable.iterdir():
        os.chown(each, NOBODY, -1)
    os.chown(readable, NOBODY, -1)
    with without_privileges():
        TableFile(path, HEADER).append(record(9))
        assert keys_in(TableFile(path, HEADER).compact()) == keys(8, 9)


def _append_many(path: str, widths: list[int]) -> None:
    file = TableFile(path, HEADER)
    for width in widths:
        file.append(record(width))
        if width % 7 == 0:
            file.compact()
        if width % 10 == 0:
            file.append_model(f"model {width}", MODEL)
        if width % 13 == 0:
            Path(f"{path}.lock").unlink(missing_ok=True)  # somebody cleans up


def test_two_profiles_at_once_lose_nothing(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    widths = list(range(1, 61))
    processes = [context.Process(target=_append_many, args=(str(path), widths[i::2])) for i in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    table = TableFile(path, HEADER).compact()
    assert keys_in(table) == keys(*widths)
    assert table.models.keys() == {f"model {width}" for width in range(10, 61, 10)}


def test_a_lock_file_deleted_while_it_is_held_loses_nothing(path: Path) -> None:
    folding, other = TableFile(path, HEADER), TableFile(path, HEADER)
    folding.append(record(1))
    started = []

    def while_folding(table: LatencyTable) -> LatencyTable:
        Path(f"{path}.lock").unlink()
        started.append(threading.Thread(target=other.append, args=(record(2),)))
        started[0].start()
        started[0].join(0.2)
        return table

    folding.rewrite(while_folding)
    started[0].join(10)
    assert keys_in(other.compact()) == keys(1, 2)


def _append_for_ever(path: str) -> None:
    file = TableFile(path, HEADER)
    width = 1
    while True:
        file.append(record(width))
        if width % 50 == 0:
            file.compact()
        width += 1


@pytest.mark.parametrize("operators", [30, 75])
def test_a_killed_profile_keeps_what_it_measured(path: Path, notices: list[str], operators: int) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_append_for_ever, args=(str(path),))
    process.start()
    assert process.pid is not None
    while not path.exists() or len(load_with_journal(path)[0]) < operators:
        assert process.is_alive()
    os.kill(process.pid, signal.SIGKILL)
    process.join(30)
    table = TableFile(path, HEADER, notices.append).compact()
    assert keys_in(table) == keys(*range(1, len(table) + 1))
    assert len(table) >= operators
    assert all("is cut short and was dropped" in notice for notice in notices)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_damage_to_any_of_the_files_costs_more_than_the_lines_it_hits(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{HEADER.stem}.jsonl"
        saved(path, *map(record, range(1, 6)), resnet=MODEL)
        for width in range(6, 9):
            TableFile(path, HEADER).append(record(width))
        hit = data.draw(st.sampled_from([path, journal_of(path)]))
        content = hit.read_bytes()
        start = data.draw(st.integers(content.index(b"\n"), len(content)))  # behind the header
        end = data.draw(st.integers(start, min(start + 40, len(content))))
        hit.write_bytes(content[:start] + data.draw(st.binary(max_size=40)) + content[end:])
        notices: list[str] = []
        found = keys_in(TableFile(path, HEADER, notices.append).compact())
        # Up to 40 bytes reach over at most one line break, and a drawn line break may cut one line more.
        assert len(found & keys(*range(1, 9))) >= 8 - 2
        assert found <= keys(*range(1, 9))
        assert found == keys(*range(1, 9)) or notices
        assert keys_in(LatencyTable.load(path)) == found
