"""Everything that can be wrong with a table's file: refused in one sentence, and each fault named by its line."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from autocompress.errors import TableError
from autocompress.latency.reading import END_LINE, read_table
from autocompress.latency.table import LatencyTable

sys.path.append(str(Path(__file__).parent))
from table_parts import HEADER, MODEL, keys, record, saved, without_privileges

Lines = list[str]


def sound(folder: Path) -> Path:
    """Line 1 the header, 2 and 3 operators, 4 a model, 5 the end."""
    return saved(folder / "t.jsonl", record(8), record(9), resnet=MODEL)


def change(line: int, old: str, new: str) -> Callable[[Lines], Lines]:
    def _changed(lines: Lines) -> Lines:
        assert old in lines[line - 1]
        return [*lines[: line - 1], lines[line - 1].replace(old, new), *lines[line:]]

    return _changed


def _without(field: str, line: int) -> Callable[[Lines], Lines]:
    def _changed(lines: Lines) -> Lines:
        row = json.loads(lines[line - 1])
        del row[field]
        return [*lines[: line - 1], json.dumps(row), *lines[line:]]

    return _changed


# What is done to the lines, the lines that a fault is named for (None: the file), and what is said first.
DAMAGES: dict[str, tuple[Callable[[Lines], Lines], list[int | None], str]] = {
    "empty": (lambda _: [], [None], "is empty"),
    "no header": (lambda lines: lines[1:], [1], "line 1 is no header"),
    "another format": (lambda lines: ['{"format": "other"}', *lines[1:]], [1], "line 1 is no header"),
    "half a header": (lambda lines: [lines[0][:60], *lines[1:]], [1], "line 1 is no header"),
    "text threads": (change(1, '"threads":1', '"threads":"one"'), [1], "malformed header .threads has the wrong type"),
    "no threads": (change(1, '"threads":1', '"threads":0'), [1], "malformed header .threads is 0"),
    "strange clock": (change(1, '"cpu"', '"sundial"'), [1], "clock is 'sundial'"),
    "strange method": (change(1, '"slope"', '"guess"'), [1], "method is 'guess'"),
    "negative constant": (change(1, '"launch_us":0.2', '"launch_us":-0.2'), [1], "launch_us is -0.2"),
    "schema zero": (change(1, '"schema":2', '"schema":0'), [1], "schema is 0"),
    "device without vendor": (change(1, '"vendor"', '"seller"'), [1], "device in a latency table's header is malf"),
    "header twice": (lambda lines: [*lines[:2], lines[0], *lines[2:]], [3], "line 3 is a second header; join tables"),
    "two parts of one table": (lambda lines: [*lines, *lines[:2], END_LINE], [6, 7], "line 6 is a second header; join"),
    "two tables": (
        lambda lines: [*lines, lines[0].replace('"threads":1', '"threads":2'), *lines[1:2], END_LINE],
        [6],
        "line 6 is a second header, of another table .threads is 1 here and 2 there.",
    ),
    "cut off": (lambda lines: [*lines[:3], lines[3][:40]], [4, None], "line 4 is not JSON"),
    "cut off between lines": (lambda lines: lines[:3], [None], "does not end with .* cut short"),
    "not an object": (lambda lines: [*lines[:4], "[1]", *lines[4:]], [5], "line 5 is not JSON"),
    "blank": (lambda lines: [*lines[:2], "", *lines[2:]], [3], "line 3 is not JSON"),
    "deep nesting": (lambda lines: [*lines[:1], "[" * 200_000, *lines[1:]], [2], "line 2 is not JSON"),
    "unknown kind": (lambda lines: [*lines[:4], "{}", *lines[4:]], [5], "line 5 is wrong: it is neither"),
    "behind the end": (lambda lines: [*lines, record(10).to_line()], [6], "line 6 stands behind the end"),
    "duplicate": (lambda lines: [*lines[:2], lines[1], *lines[2:]], [3], "line 3 repeats the key"),
    "model twice": (lambda lines: [*lines[:4], lines[3], *lines[4:]], [5], "line 5 repeats the model 'resnet'"),
    "negative": (change(3, '"minimum_us":2.0', '"minimum_us":-2.0'), [3], "minimum_us is -2"),
    "nan": (change(3, '"median_us":2.2', '"median_us":NaN'), [3], "median_us is nan"),
    "infinite": (change(3, '"spread_us":0.1', '"spread_us":Infinity'), [3], "spread_us is inf"),
    "beyond floats": (change(3, '"median_us":2.2', '"median_us":1e999'), [3], "median_us is inf"),
    "fastest above the median": (change(3, '"minimum_us":2.0', '"minimum_us":3.0'), [3], "3.0, above median_us, which"),
    "zero": (change(3, '"minimum_us":2.0', '"minimum_us":0'), [3], "time of zero"),
    "no repeats": (change(3, '"repeats":20', '"repeats":0'), [3], "no repeats"),
    "edited": (change(3, '"Gemm"', '"Conv"'), [3], "does not belong to its signature"),
    "edited key": (change(3, '"key":"', '"key":"0'), [3], "does not belong to its signature"),
    "missing field": (_without("repeats", 3), [3], "no field 'repeats'"),
    "missing signature field": (change(3, '"domain"', '"domein"'), [3], "its signature has no field 'domain'"),
    "text for a time": (change(3, '"median_us":2.2', '"median_us":"2.2"'), [3], "median_us has the wrong type"),
    "true for a time": (change(3, '"median_us":2.2', '"median_us":true'), [3], "median_us is true"),
    "text for validity": (change(3, '"valid":true', '"valid":"no"'), [3], "valid has the wrong type"),
    "no reason": (change(3, '"valid":true', '"valid":false'), [3], "no field 'invalid_reason'"),
    "signature of numbers": (change(3, '"inputs":[[', '"inputs":[7,['), [3], "field of its signature has the wrong"),
    "model without time": (change(4, '"latency_us":110.0', '"latency_us":0'), [4], "takes no time"),
    "model with a time of nan": (change(4, '"latency_us":110.0', '"latency_us":NaN'), [4], "latency_us is nan"),
    "model of another version": (change(4, '"nodes"', '"knots"'), [4], "has a field 'knots' that no model has"),
    "model that lacks too much": (change(4, '"missing":0', '"missing":13'), [4], "lacks more operators than it has"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_table_is_refused_in_one_sentence(tmp_path: Path, damage: str) -> None:
    spoil, lines, message = DAMAGES[damage]
    path = sound(tmp_path)
    before = path.read_text()
    path.write_text("".join(f"{line}\n" for line in spoil(before.splitlines())))
    assert path.read_text() != before
    with pytest.raises(TableError, match=message) as caught:
        LatencyTable.load(path)
    assert "t.jsonl" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [fault.line for fault in read_table(path).faults] == lines


def test_every_fault_is_named_and_the_first_one_says_how_many_more(tmp_path: Path) -> None:
    path = sound(tmp_path)
    header, _, nine, model, end = path.read_text().splitlines()
    eight = nine.replace('"repeats":20', '"repeats":-1')
    path.write_text("\n".join([header, eight, nine, "rubbish", nine, model.replace("110.0", "NaN"), end, end]))
    reading = read_table(path)
    assert [fault.line for fault in reading.faults] == [2, 4, 5, 6, 8]
    assert all(str(fault).startswith(f"t.jsonl line {fault.line} ") for fault in reading.faults)
    with pytest.raises(TableError, match=r"line 2 .*4 more faults: see `autocompress table validate t\.jsonl`"):
        LatencyTable.load(path)
    assert len(reading.records) == 1
    assert not reading.models


def test_a_newer_schema_is_refused_as_a_whole(tmp_path: Path) -> None:
    path = sound(tmp_path)
    path.write_text(path.read_text().replace('"schema":2', '"schema":3'))
    with pytest.raises(TableError, match=r"t\.jsonl has schema 3, newer than 2, which this version reads; update"):
        read_table(path)


@pytest.mark.parametrize("seed", range(4))
def test_binary_rubbish_is_no_table(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(random.Random(seed).randbytes(50_000))
    reading = read_table(path)
    assert not reading.is_table
    with pytest.raises(TableError, match=r"t\.jsonl line 1 is no header"):
        LatencyTable.load(path)


def test_rubbish_inside_costs_its_own_lines_only(tmp_path: Path) -> None:
    path = sound(tmp_path)
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([*lines[:2], b"\xff\xfe\0\x80\x1c\x85", *lines[2:]]))
    reading = read_table(path)
    assert [fault.line for fault in reading.faults] == [3]
    assert reading.records.keys() == keys(8, 9)
    assert reading.models == {"resnet": MODEL}


def test_truncation_anywhere_is_noticed(tmp_path: Path) -> None:
    path = sound(tmp_path)
    content = path.read_bytes()
    for size in [*range(0, len(content) - 1, 37), len(content) - 2, content.rindex(b"{")]:
        path.write_bytes(content[:size])
        with pytest.raises(TableError, match=r"t\.jsonl"):
            LatencyTable.load(path)
    path.write_bytes(content[:-1])  # without the last line break nothing is missing
    assert len(LatencyTable.load(path)) == 2


def test_a_file_that_cannot_be_read_is_a_table_error(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"cannot read the latency table none\.jsonl: No such file"):
        LatencyTable.load(tmp_path / "none.jsonl")
    with pytest.raises(TableError, match="Is a directory"):
        LatencyTable.load(tmp_path)


def test_a_table_without_permission_is_a_table_error(tmp_path: Path) -> None:
    sound(tmp_path).chmod(0)
    with without_privileges(), pytest.raises(TableError, match=r"cannot read .*: Permission denied"):
        LatencyTable.load(tmp_path / "t.jsonl")


def test_a_header_says_all_that_decides_where_records_are_true() -> None:
    assert HEADER.stem == "amd-25-17-fma-onnxruntime-1.31.1-t1"
