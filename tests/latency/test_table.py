"""Tables on disk: what comes back, and how the file looks."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocompress.errors import StorageError, TableError
from autocompress.graph.signature import OpSignature, TensorType
from autocompress.latency.header import IN_PLACE, TableHeader
from autocompress.latency.record import LatencyRecord
from autocompress.latency.row import parse_row
from autocompress.latency.table import LatencyTable
from autocompress.latency.whole_models import model_line, model_of_row

sys.path.append(str(Path(__file__).parent))
from table_parts import HEADER, MODEL, files_limited_to, invalid, keys, keys_in, names_in, record, saved, signature


def test_a_table_comes_back_as_it_was(tmp_path: Path) -> None:
    path = saved(tmp_path / "t.jsonl", record(8), record(9), invalid(3), resnet=MODEL)
    table = LatencyTable.load(path)
    assert table.header == HEADER
    assert keys_in(table) == keys(8, 9, 3)
    assert table.find(signature(8)) == record(8)
    assert signature(3) in table
    assert table.find(signature(3)) is None  # known to be invalid
    assert table.record(signature(3)) == invalid(3)
    assert table.record(signature(4)) is None
    assert table.models == {"resnet": MODEL}


def test_one_file_holds_everything(tmp_path: Path) -> None:
    saved(tmp_path / "t.jsonl", record(8), resnet=MODEL)
    assert names_in(tmp_path) == ["t.jsonl"]
    assert not list(tmp_path.glob("*.lock"))


def test_lines_are_sorted_and_stable(tmp_path: Path) -> None:
    one = saved(tmp_path / "a.jsonl", record(8), record(9), record(10), b=MODEL, a=MODEL).read_text()
    two = saved(tmp_path / "b.jsonl", record(10), record(8), record(9), a=MODEL, b=MODEL).read_text()
    assert one == two
    rows = [json.loads(line) for line in one.splitlines()]
    assert rows[0]["schema"] == 2
    assert [row["key"] for row in rows[1:4]] == sorted(keys(8, 9, 10))
    assert [row["model"] for row in rows[4:6]] == ["a", "b"]
    assert rows[6] == {"end": True}
    LatencyTable.load(tmp_path / "a.jsonl").save(tmp_path / "c.jsonl")
    assert (tmp_path / "c.jsonl").read_text() == one


def test_one_new_operator_is_one_new_line(tmp_path: Path) -> None:
    before = saved(tmp_path / "a.jsonl", record(8), record(10), m=MODEL).read_text().splitlines()
    after = saved(tmp_path / "b.jsonl", record(8), record(9), record(10), m=MODEL).read_text().splitlines()
    assert [line for line in after if line not in before] == [record(9).to_line()]
    assert [line for line in before if line not in after] == []


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
    line = before.to_line()
    assert "\n" not in line
    after = LatencyRecord.from_row(json.loads(line))
    assert after.signature == made
    assert after.minimum_us == pytest.approx(minimum, rel=1e-3)
    assert after.to_line() == line


@pytest.mark.parametrize("field", ["operators_us", "latency_us"])
def test_models_are_kept_with_five_digits(field: str) -> None:
    row = json.loads(model_line("m", replace(MODEL, **{field: 123456.789})))
    assert row[field] == 123460.0
    name, model = model_of_row(row)
    assert (name, getattr(model, field)) == ("m", 123460.0)
    assert model_of_row({k: v for k, v in row.items() if k != "missing"})[1].missing == 0


@pytest.mark.parametrize("method", ["slope", IN_PLACE])
def test_the_header_says_how_operators_were_timed(tmp_path: Path, method: str) -> None:
    header = replace(HEADER, method=method)
    assert LatencyTable.load(saved(tmp_path / "t.jsonl", header=header)).header.method == method
    row = parse_row(header.to_line())
    assert row is not None
    assert TableHeader.from_row({k: v for k, v in row.items() if k != "method"}).method == "slope"


def test_a_table_from_another_system_may_have_its_line_breaks(tmp_path: Path) -> None:
    path = saved(tmp_path / "t.jsonl", record(8), resnet=MODEL)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert LatencyTable.load(path).models == {"resnet": MODEL}


def as_schema_1(path: Path, *, models: str = "") -> Path:
    """The table as the first version wrote it: without models, method and end, the models in a second file."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    header = {k: v for k, v in rows[0].items() if k != "method"} | {"schema": 1}
    kept = [header, *(row for row in rows[1:] if "key" in row)]
    path.write_text("".join(json.dumps(row) + "\n" for row in kept))
    lines = [json.dumps(row) for row in rows if "model" in row]
    path.with_suffix(".models.jsonl").write_text("".join(f"{line}\n" for line in lines) + models)
    return path


def test_a_table_of_schema_1_and_the_models_beside_it_are_read(tmp_path: Path) -> None:
    path = as_schema_1(saved(tmp_path / "t.jsonl", record(8), a=MODEL, b=MODEL))
    table = LatencyTable.load(path)
    assert keys_in(table) == keys(8)
    assert table.header == HEADER
    assert table.models == {"a": MODEL, "b": MODEL}
    table.save(path)
    path.with_suffix(".models.jsonl").write_text("stale")  # a table of schema 2 does not look beside it
    assert LatencyTable.load(path).models == {"a": MODEL, "b": MODEL}


def test_models_beside_a_table_of_schema_1(tmp_path: Path) -> None:
    later = model_line("a", replace(MODEL, latency_us=90.0))
    path = as_schema_1(saved(tmp_path / "t.jsonl", a=MODEL), models=f'{later}\n{{"model": "half a li')
    assert LatencyTable.load(path).models["a"].latency_us == 90.0  # the last counts; half a line at the end does not
    path = as_schema_1(saved(tmp_path / "u.jsonl", a=MODEL), models=f"half\n{later}\n")
    with pytest.raises(TableError, match=r"u\.models\.jsonl line 2 is damaged .it is not JSON.; remove it"):
        LatencyTable.load(path)


def test_a_full_disk_leaves_the_table_as_it_was(tmp_path: Path) -> None:
    path = saved(tmp_path / "t.jsonl", record(8))
    before = path.read_text()
    many = LatencyTable(HEADER, [record(width) for width in range(1, 100)])
    with files_limited_to(8192), pytest.raises(StorageError, match=r"cannot write t\.jsonl in .*: File too large"):
        many.save(path)
    assert path.read_text() == before
    assert names_in(tmp_path) == ["t.jsonl"]
