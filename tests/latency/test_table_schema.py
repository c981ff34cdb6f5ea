"""The documented form of a table: what ships obeys it line by line, and what it forbids is refused on reading."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from autocompress.latency.composition import ObservedModel
from autocompress.latency.header import CLOCKS, METHODS, SCHEMA
from autocompress.latency.locate import shipped_folder, shipped_tables
from autocompress.latency.roofline import Roofline

sys.path.append(str(Path(__file__).parent))
from table_parts import MODEL, invalid, record, saved

FOLDER = shipped_folder("latency_tables")
DOCUMENT = json.loads((FOLDER / "line.schema.json").read_text())
KINDS = {"format": "header", "key": "operator", "model": "model", "end": "end"}
VALIDATORS = {
    kind: Draft202012Validator({"$ref": f"#/$defs/{kind}", "$defs": DOCUMENT["$defs"]}) for kind in KINDS.values()
}


def kind_of(row: dict[str, Any]) -> str:
    return next(kind for name, kind in KINDS.items() if name in row)


def form_of(value: Any) -> str:
    """Keys and types, without the values."""
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{form_of(part)}' for key, part in sorted(value.items()))}}}"
    if isinstance(value, list):
        return f"[{','.join(sorted({form_of(part) for part in value}))}]"
    return type(value).__name__


def faults(row: dict[str, Any]) -> list[str]:
    return [error.message for error in VALIDATORS[kind_of(row)].iter_errors(row)]


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line, parse_constant=pytest.fail) for line in path.read_text().splitlines()]


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(DOCUMENT)
    assert {ref["$ref"].rpartition("/")[2] for ref in DOCUMENT["oneOf"]} == set(KINDS.values())


@pytest.mark.parametrize("path", list(shipped_tables()), ids=lambda p: p.stem)
def test_a_shipped_table_obeys_it_line_by_line(path: Path) -> None:
    rows = rows_of(path)
    # Lines of one form differ in numbers and names only; of each form the first are looked at, and of all every tenth.
    forms: Counter[str] = Counter()
    for number, row in enumerate(rows, 1):
        forms[form_of(row)] += 1
        if number % 10 == 0 or forms[form_of(row)] <= 3:
            assert faults(row) == [], number
    kinds = [kind_of(row) for row in rows]
    operators, models = kinds.count("operator"), kinds.count("model")
    assert kinds == ["header", *["operator"] * operators, *["model"] * models, "end"]
    keys = [row["key"] for row in rows[1 : operators + 1]]
    names = [row["model"] for row in rows[operators + 1 : -1]]
    assert keys == sorted(set(keys))
    assert names == sorted(set(names))
    assert rows[0]["schema"] == SCHEMA


def test_what_is_written_obeys_it(tmp_path: Path) -> None:
    rows = rows_of(saved(tmp_path / "t.jsonl", record(8), invalid(9), resnet=MODEL))
    assert [kind_of(row) for row in rows] == ["header", "operator", "operator", "model", "end"]
    assert [fault for row in rows for fault in faults(row)] == []
    whole = Draft202012Validator(DOCUMENT)
    assert all(whole.is_valid(row) for row in rows)


OPERATOR, INVALID = (json.loads(each.to_line()) for each in (record(8), invalid(9)))


@pytest.mark.parametrize(
    "row",
    [
        {**OPERATOR, "minimum_us": 0},
        {**OPERATOR, "minimum_us": -1},
        {**OPERATOR, "median_us": "2"},
        {**OPERATOR, "repeats": 0},
        {**OPERATOR, "key": "short"},
        {**OPERATOR, "invalid_reason": "why"},
        {**OPERATOR, "note": "mine"},
        {k: v for k, v in OPERATOR.items() if k != "signature"},
        {**OPERATOR, "signature": {**OPERATOR["signature"], "inputs": [["float32", [1.5], False]]}},
        {k: v for k, v in INVALID.items() if k != "invalid_reason"},
        {"end": False},
        {"model": "m"},
    ],
)
def test_what_it_forbids(row: dict[str, Any]) -> None:
    assert faults(row)


def test_it_knows_every_field_that_the_package_writes() -> None:
    definitions = DOCUMENT["$defs"]
    assert definitions["model"]["properties"].keys() == {"model", *(field.name for field in fields(ObservedModel))}
    header = definitions["header"]["properties"]
    assert tuple(header["method"]["enum"]) == METHODS
    assert tuple(header["clock"]["enum"]) == CLOCKS
    assert header["schema"]["const"] == SCHEMA
    assert set(header["constants"]["propertyNames"]["enum"]) == {field.name for field in fields(Roofline)}


@pytest.mark.parametrize("kind", ["header", "operator", "model"])
def test_the_page_describes_every_field(kind: str) -> None:
    text = (FOLDER / "README.md").read_text()
    table = text.split(f"\n| {kind.capitalize()} field ", 1)[1].split("\n\n", 1)[0]
    cells = [line.split("|")[1] for line in table.splitlines()[2:]]
    assert {name for cell in cells for name in re.findall(r"`(\w+)`", cell)} == set(
        DOCUMENT["$defs"][kind]["properties"]
    )


def catalogue() -> dict[str, list[str]]:
    """Name of the table -> cells of its row on the page."""
    text = (FOLDER / "README.md").read_text().split("\n| --- ", 1)[1].split("\n\n", 1)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[1:]]
    return {row[0].strip("`"): row for row in rows}


def test_the_catalogue_and_the_files_agree() -> None:
    listed = catalogue()
    assert set(listed) == {path.stem for path in shipped_tables()}
    others = {path.name for path in FOLDER.iterdir()} - {f"{stem}.jsonl" for stem in listed}
    assert others == {"README.md", "line.schema.json"}
    for path in shipped_tables():
        rows = rows_of(path)
        header, cells = rows[0], listed[path.stem]
        assert header["runtime_version"] in cells[2]
        assert cells[3] == str(header["threads"])
        assert cells[4] == header["method"]
        assert cells[5] == str(sum("key" in row for row in rows))
        assert cells[6] == str(sum("model" in row for row in rows))
