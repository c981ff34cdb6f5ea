"""``autocompress table`` on real files, through the real api."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from autocompress.cli.main import main
from autocompress.latency.journal import TableFile
from autocompress.latency.locate import cached_table_path, shipped_tables
from autocompress.latency.table import LatencyTable

sys.path.append(str(Path(__file__).parents[1] / "latency"))
from table_parts import HEADER, MODEL, invalid, keys, keys_in, names_in, record, saved

RELATIVE = Path("a.jsonl")


@pytest.fixture(autouse=True)
def apart(tmp_path, monkeypatch):
    """Nothing of the user's own is read or written."""
    monkeypatch.setenv("AUTOCOMPRESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def a() -> Path:
    return saved(RELATIVE, record(8, 2.0), record(9, 3.0), invalid(10), record(11, 1200.0), resnet=MODEL)


@pytest.fixture
def b() -> Path:
    return saved(Path("b.jsonl"), record(8, 1.0), record(9, 6.0), record(10, 5.0), record(12, 7.0))


def document(capsys, *arguments: object, code: int = 0) -> dict:
    assert main([*map(str, arguments), "--json"]) == code
    return json.loads(capsys.readouterr().out)


def refused(capsys, *arguments: object) -> str:
    assert main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    [sentence] = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    return sentence.removeprefix("error: ")


def test_list_shows_what_ships_and_what_is_ones_own(capsys, a):
    own = cached_table_path(HEADER)
    LatencyTable(HEADER, [record(8)]).save(own)
    TableFile(own, HEADER).append(record(9))
    damaged = own.with_name("damaged.jsonl")
    damaged.write_text("no table")
    rows = {row["path"]: row for row in document(capsys, "table", "list")["tables"]}
    assert rows.keys() == {str(path) for path in (*shipped_tables(), own, damaged)}
    mine = rows[str(own)]
    assert (mine["origin"], mine["records"], mine["journal"], mine["matches"]) == ("your own", 2, 1, False)
    assert mine["reason"] == f"made on {HEADER.device.fingerprint}"
    assert "line 1 is no header" in rows[str(damaged)]["reason"]
    assert all(row["origin"] == "shipped" for path, row in rows.items() if "cache" not in path)


def test_show_counts_sorts_and_filters(capsys, a):
    TableFile(a, HEADER).append(record(13, 5000.0))
    everything = document(capsys, "table", "show", a)
    assert (everything["records"], everything["valid"], everything["models"], everything["journal"]) == (5, 4, 1, 1)
    assert [row["minimum_us"] for row in everything["operators"]] == [5000.0, 1200.0, 3.0, 2.0, None]
    assert everything["families"] == [
        {
            "family": "matmul_float",
            "records": 5,
            "valid": 4,
            "fastest_us": 2.0,
            "median_us": 601.5,
            "slowest_us": 5000.0,
        }
    ]
    assert everything["provenance"]["method"] == "slope"
    limited = document(capsys, "table", "show", a, "--family", "matmul_float", "--op", "Gemm", "--limit", "1")
    assert [row["work"] for row in limited["operators"]] == ["float32 1x13, float32 13x4 -> 1x4"]
    assert limited["matching"] == 5
    [bad] = document(capsys, "table", "show", a, "--invalid")["operators"]
    assert bad["invalid_reason"] == "could not run"
    assert main(["table", "show", str(a)]) == 0
    out = capsys.readouterr().out
    assert "5 ms" in out
    assert "3 us" in out
    assert "5 operators, 1 whole models, 1 lines still in the journal" in out


def test_show_names_what_there_is_instead(capsys, a):
    assert "has no --family 'pooling'; it has matmul_float" in refused(
        capsys, "table", "show", a, "--family", "pooling"
    )
    assert "has no --op 'Conv'; it has Gemm" in refused(capsys, "table", "show", a, "--op", "Conv")


def test_validate_names_every_fault_and_ends_with_2(capsys, a):
    assert document(capsys, "table", "validate", a)["valid"] is True
    lines = a.read_text().splitlines()
    lines[1] = lines[1].replace("Gemm", "Conv")
    lines[2] = lines[2][:30]
    a.write_text("\n".join(lines[:-1]))
    found = document(capsys, "table", "validate", a, code=2)
    assert [fault["line"] for fault in found["faults"]] == [2, 3, None]
    assert (found["valid"], found["records"], found["models"]) == (False, 2, 1)
    assert main(["table", "validate", str(a)]) == 2
    captured = capsys.readouterr()
    shown = captured.out.splitlines()
    assert shown[0].startswith("a.jsonl line 2 is wrong: its key")
    assert shown[1].startswith("a.jsonl line 3 is not JSON")
    assert 'a.jsonl does not end with {"end":true}' in captured.out
    assert captured.err.endswith("error: a.jsonl has 3 faults\n")


def test_validate_says_what_a_journal_lacks(capsys, a):
    TableFile(a, HEADER).append(record(13))
    with a.with_name("a.jsonl.journal").open("a") as journal:
        journal.write('{"key": "half')
    found = document(capsys, "table", "validate", a)
    assert (found["valid"], found["journal"]) == (True, 1)
    assert "a.jsonl.journal line 3 is cut short" in found["notices"][0]


def test_validate_of_what_is_no_table(capsys):
    Path("x.txt").write_text("hello\nworld\n")
    assert "x.txt is not a latency table: x.txt line 1 is no header" in refused(capsys, "table", "validate", "x.txt")
    Path("x.txt").write_bytes(b"")
    assert "x.txt is empty" in refused(capsys, "table", "validate", "x.txt")


def test_merge_into_a_new_table(capsys, a, b):
    TableFile(b, HEADER).append(record(13))
    before = a.read_text(), b.read_text()
    merged = document(capsys, "table", "merge", a, b, "-o", "c.jsonl")
    assert merged == {
        "path": "c.jsonl",
        "records": 6,
        "invalid": 0,
        "models": 1,
        "repeated": 3,
        "tables": [
            {"path": "a.jsonl", "records": 4, "taken": 2, "models": 1, "models_taken": 1},
            {"path": "b.jsonl", "records": 5, "taken": 4, "models": 0, "models_taken": 0},
        ],
    }
    table = LatencyTable.load("c.jsonl")
    assert keys_in(table) == keys(8, 9, 10, 11, 12, 13)
    assert table.header == replace(HEADER, command="autocompress table merge a.jsonl b.jsonl")
    assert (a.read_text(), b.read_text()) == before
    assert names_in(Path()) == ["a.jsonl", "b.jsonl", "b.jsonl.journal", "c.jsonl"]


def test_merge_into_one_of_the_tables_takes_in_its_journal(capsys, a, b):
    TableFile(a, HEADER).append(record(13))
    merged = document(capsys, "table", "merge", b, a, "-o", a, "--prefer", "first")
    assert (merged["records"], merged["repeated"]) == (6, 3)
    table = LatencyTable.load(a)
    assert keys_in(table) == keys(8, 9, 10, 11, 12, 13)
    assert {r.minimum_us for r in table} == {1.0, 6.0, 5.0, 1200.0, 7.0, 2.0}
    assert names_in(Path()) == ["a.jsonl", "b.jsonl"]


def test_merge_of_one_table_writes_it_anew(capsys, a):
    before = a.read_text()
    TableFile(a, HEADER).append(record(13))
    assert document(capsys, "table", "merge", a, "-o", a)["records"] == 5
    assert names_in(Path()) == ["a.jsonl"]
    assert [line for line in before.splitlines() if line not in a.read_text().splitlines()] == []
    assert LatencyTable.load(a).header == HEADER


def test_merge_refuses_what_would_lose_or_mix_something(capsys, a, b):
    Path("precious.jsonl").write_text("precious")
    sentence = refused(capsys, "table", "merge", a, b, "-o", "precious.jsonl")
    assert sentence.startswith("precious.jsonl exists; name it among the tables to merge")
    assert Path("precious.jsonl").read_text() == "precious"
    other = saved(Path("c.jsonl"), record(8), header=replace(HEADER, threads=2, clock="wall"))
    sentence = refused(capsys, "table", "merge", a, other, "-o", "new.jsonl")
    assert sentence == (
        "c.jsonl cannot be merged into a.jsonl: threads is 1 here and 2 there; clock is cpu here and wall there"
    )
    before = a.read_text()
    assert "c.jsonl cannot be merged" in refused(capsys, "table", "merge", a, other, "-o", a)
    assert "'newest' is unknown" in refused(capsys, "table", "merge", a, b, "-o", "new.jsonl", "--prefer", "newest")
    b.write_text(b.read_text()[:-5])
    assert "b.jsonl line 6 is not JSON" in refused(capsys, "table", "merge", a, b, "-o", "new.jsonl")
    assert a.read_text() == before
    assert not Path("new.jsonl").exists()


def test_diff(capsys, a, b):
    found = document(capsys, "table", "diff", a, b)
    assert found["all"]["operators"] == 2
    assert (found["common"], found["unusable"]) == (3, 1)
    assert sorted(row["ratio"] for row in found["largest"]) == [0.5, 2.0]
    assert found["all"]["total"] == pytest.approx(7 / 5)
    assert (found["only_a"]["records"], found["only_b"]["records"]) == (1, 1)
    assert found["only_b"]["operators"][0]["minimum_us"] == 7.0
    assert found["header"] == []
    assert len(document(capsys, "table", "diff", a, b, "--limit", "1")["largest"]) == 1
    assert main(["table", "diff", str(a), str(b)]) == 0
    assert "only in A: 1 operators (1 matmul_float)" in capsys.readouterr().out


def test_diff_of_a_table_with_itself_and_with_one_that_has_nothing_in_common(capsys, a):
    same = document(capsys, "table", "diff", a, a)
    assert (same["all"]["median"], same["all"]["total"], same["models"]["median"]) == (1.0, 1.0, 1.0)
    other = saved(Path("c.jsonl"), record(50), header=replace(HEADER, runtime="openvino", method="in place"))
    nothing = document(capsys, "table", "diff", a, other)
    assert nothing["all"] is None
    assert [row["field"] for row in nothing["header"]] == ["runtime", "method"]
    assert main(["table", "diff", str(a), str(other)]) == 0


@pytest.mark.parametrize(
    "arguments",
    [("show",), ("validate",), ("merge", "-o", "new.jsonl"), ("diff", "a.jsonl")],
    ids=lambda arguments: arguments[0],
)
def test_a_table_that_is_not_there(capsys, a, arguments):
    command, *others = arguments
    assert "there is no latency table 'none'" in refused(capsys, "table", command, "none", *others)
