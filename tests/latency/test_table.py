"""Tables on disk: round trips, and everything that can be wrong with a file."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocompress.errors import TableError
from autocompress.graph.signature import OpSignature, TensorType
from autocompress.latency.device import Device
from autocompress.latency.journal import TableFile
from autocompress.latency.record import LatencyRecord
from autocompress.latency.table import LatencyTable, TableHeader

DEVICE = Device("amd", "25-17", "a processor", ("avx2", "fma"), 2)
HEADER = TableHeader(DEVICE, "onnxruntime", "1.31.1", 1, "cpu", "2025-01-01", "a command", {"launch_us": 0.2})


def signature(width: int = 8) -> OpSignature:
    x = TensorType("float32", (1, width))
    return OpSignature("", "Gemm", (x, TensorType("float32", (width, 4), True)), (TensorType("float32", (1, 4)),))


def record(width: int = 8, minimum_us: float = 2.0) -> LatencyRecord:
    return LatencyRecord(signature(width), minimum_us * 1.1, minimum_us, 0.1, 20)


def saved(path: Path, *records: LatencyRecord) -> Path:
    LatencyTable(HEADER, records).save(path)
    return path


def test_a_table_comes_back_as_it_was(tmp_path: Path) -> None:
    bad = LatencyRecord(signature(3), 0.0, 0.0, 0.0, 0, "could not run")
    path = saved(tmp_path / "t.jsonl", record(8), record(9), bad)
    table = LatencyTable.load(path)
    assert table.header == HEADER
    assert sorted(r.signature.key for r in table) == sorted(signature(w).key for w in (8, 9, 3))
    assert table.find(signature(8)) == record(8)
    assert signature(3) in table
    assert table.find(signature(3)) is None  # known to be invalid


def test_lines_are_sorted_and_stable(tmp_path: Path) -> None:
    one = saved(tmp_path / "a.jsonl", record(8), record(9), record(10)).read_text()
    two = saved(tmp_path / "b.jsonl", record(10), record(8), record(9)).read_text()
    assert one == two
    keys = [json.loads(line)["key"] for line in one.splitlines()[1:]]
    assert keys == sorted(keys)


@given(
    shape=st.lists(st.integers(1, 4096), min_size=1, max_size=5),
    kind=st.sampled_from(["float32", "uint8", "int8", "int64"]),
    constant=st.booleans(),
    attribute=st.one_of(st.integers(0, 9), st.text(max_size=8), st.lists(st.integers(0, 9), max_size=4).map(tuple)),
    sparsity=st.integers(0, 16).map(lambda n: n / 16),
    minimum=st.floats(0.01, 1e7),
)
def test_any_record_survives_its_line(
    shape: list[int], kind: str, constant: bool, attribute: object, sparsity: float, minimum: float
) -> None:
    operand = TensorType(kind, tuple(shape), constant)
    result = TensorType(kind, tuple(shape))
    made = OpSignature("d", "Op", (operand, None), (result,), (("a", attribute),), sparsity)  # type: ignore[arg-type]
    before = LatencyRecord(made, minimum, minimum, 0.0, 5)
    after = LatencyRecord.from_row(json.loads(before.to_line()))
    assert after.signature == made
    assert after.minimum_us == pytest.approx(minimum, rel=1e-3)


DAMAGES = {
    "empty": (lambda lines: [], "is empty"),
    "no header": (lambda lines: lines[1:], "no header"),
    "another format": (lambda lines: ['{"format": "other"}', *lines[1:]], "no header"),
    "newer schema": (lambda lines: [lines[0].replace('"schema":1', '"schema":2'), *lines[1:]], "newer than 1"),
    "malformed header": (
        lambda lines: [lines[0].replace('"threads":1', '"threads":"one"'), *lines[1:]],
        "malformed header",
    ),
    "truncated": (lambda lines: [*lines[:-1], lines[-1][:40]], "line 3 is not JSON"),
    "not an object": (lambda lines: [*lines, "[1]"], "line 4 is not JSON"),
    "duplicate": (lambda lines: [*lines, lines[1]], "line 4 repeats the key"),
    "negative": (
        lambda lines: [*lines[:-1], lines[-1].replace('"minimum_us":2.0', '"minimum_us":-2.0')],
        "minimum_us is -2",
    ),
    "nan": (lambda lines: [*lines[:-1], lines[-1].replace('"median_us":2.2', '"median_us":NaN')], "median_us is nan"),
    "zero": (lambda lines: [*lines[:-1], lines[-1].replace('"minimum_us":2.0', '"minimum_us":0')], "time of zero"),
    "edited": (lambda lines: [*lines[:-1], lines[-1].replace('"Gemm"', '"Conv"')], "does not belong to its signature"),
    "missing field": (lambda lines: [*lines[:-1], lines[-1].replace("repeats", "repeat")], "no field 'repeats'"),
    "wrong type": (lambda lines: [*lines[:-1], lines[-1].replace('"median_us":2.2', '"median_us":[]')], "wrong type"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_table_is_refused_in_one_sentence(tmp_path: Path, damage: str) -> None:
    spoil, message = DAMAGES[damage]
    path = saved(tmp_path / "t.jsonl", record(8), record(9))
    before = path.read_text()
    path.write_text("\n".join(spoil(before.splitlines())))
    assert path.read_text().strip() != before.strip()
    with pytest.raises(TableError, match=message) as caught:
        LatencyTable.load(path)
    assert "t.jsonl" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_table_is_a_table_error(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="cannot read"):
        LatencyTable.load(tmp_path / "none.jsonl")


def test_merging(tmp_path: Path) -> None:
    invalid = LatencyRecord(signature(9), 0.0, 0.0, 0.0, 0, "why")
    merged = LatencyTable(HEADER, [record(8), record(9)]).merged(LatencyTable(HEADER, [record(8, 5.0), invalid]))
    assert merged.find(signature(8)) == record(8, 5.0)
    assert merged.find(signature(9)) == record(9)  # an invalid record does not displace a valid one
    for other in (
        replace(HEADER, threads=2),
        replace(HEADER, runtime="openvino"),
        replace(HEADER, runtime_version="2"),
        replace(HEADER, device=replace(DEVICE, isa=("avx2",))),
    ):
        with pytest.raises(TableError, match="cannot be merged"):
            LatencyTable(HEADER).merged(LatencyTable(other))


def test_journalled_records_are_there_at_once(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    TableFile(path, HEADER).append(record(8))
    assert TableFile(path, HEADER).load().find(signature(8)) == record(8)
    table = TableFile(path, HEADER).compact()
    assert len(table) == 1
    assert LatencyTable.load(path).find(signature(8)) == record(8)
    assert not list(tmp_path.glob("*.journal"))


def test_half_a_line_is_dropped_with_a_notice_and_nothing_else_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    notices: list[str] = []
    file = TableFile(path, HEADER, notices.append)
    file.append(record(8))
    journal = next(tmp_path.glob("*.journal"))
    journal.write_bytes(journal.read_bytes() + record(9).to_line().encode()[:50])
    assert file.load().find(signature(9)) is None
    assert len(notices) == 1
    assert "cut short" in notices[0]
    file.append(record(10))
    table = file.compact()
    assert {r.signature.key for r in table} == {signature(8).key, signature(10).key}


def test_profiling_into_a_table_of_something_else_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "t.jsonl", record(8))
    with pytest.raises(TableError, match="threads is 2 here and 1 there"):
        TableFile(path, replace(HEADER, threads=2)).load()


def _append_many(path: str, widths: list[int]) -> None:
    file = TableFile(path, HEADER)
    for width in widths:
        file.append(record(width))
        if width % 7 == 0:
            file.compact()


def test_two_profiles_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    context = multiprocessing.get_context("spawn")
    widths = list(range(1, 41))
    processes = [context.Process(target=_append_many, args=(str(path), widths[i::2])) for i in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    table = TableFile(path, HEADER).compact()
    assert {r.signature.key for r in table} == {signature(w).key for w in widths}


def _append_for_ever(path: str) -> None:
    file = TableFile(path, HEADER)
    width = 1
    while True:
        file.append(record(width))
        width += 1


def test_a_killed_profile_keeps_what_it_measured(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    process = multiprocessing.get_context("spawn").Process(target=_append_for_ever, args=(str(path),))
    process.start()
    journal = path.with_name("t.jsonl.journal")
    while not journal.exists() or journal.stat().st_size < 20_000:
        assert process.is_alive()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(30)
    complete = journal.read_bytes().count(b"\n")
    table = TableFile(path, HEADER).compact()
    assert len(table) == complete > 10
