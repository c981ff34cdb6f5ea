from __future__ import annotations

import io

import pytest
from rich.console import Console

from autocompress.cli import layout
from autocompress.cli.layout import Column, facts_table, rows_table


def _printed(renderable) -> list[str]:
    console = Console(file=io.StringIO(), width=100)
    console.print(renderable)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_rows_show_the_columns_that_somebody_has():
    rows = [{"name": "conv", "latency_ms": 1.25}, {"name": "[red]relu[/red]"}]
    columns = [
        Column("name", "operator"),
        Column("latency_ms", "time", layout.milliseconds, right=True),
        Column("note", "note"),
    ]
    lines = _printed(rows_table(rows, columns))
    assert lines[0].split() == ["operator", "time"]
    assert lines[1].split() == ["conv", "1.25", "ms"]
    assert lines[2].split() == ["[red]relu[/red]", "-"]


def test_no_rows_still_have_a_heading():
    assert _printed(rows_table([], [Column("a", "first"), Column("b", "second")]))[0].split() == ["first", "second"]


def test_facts_leave_out_what_is_not_known_and_reach_into_mappings():
    columns = [Column("device.name", "device"), Column("device.isa", "isa"), Column("gone.deep", "gone")]
    assert _printed(facts_table({"device": {"name": "cpu0"}}, columns)) == ["device  cpu0"]


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (layout.milliseconds, 12.3456, "12.35 ms"),
        (layout.milliseconds, 0.065, "65 us"),
        (layout.milliseconds, -0.5, "-0.5 ms"),
        (layout.fixed_milliseconds, 0.0312, "0.031 ms"),
        (layout.fixed_milliseconds, -12.5, "-12.500 ms"),
        (layout.fixed_milliseconds, -0.0001, "0.000 ms"),
        (layout.interval_ms, [1.0, 2.5], "1 ms to 2.5 ms"),
        (layout.factor, 2.0, "2.00x"),
        (layout.interval_of_factors, (1.9, 2.1), "1.90x to 2.10x"),
        (layout.percent, 0.1234, "12.3 %"),
        (layout.number, 0.000123456, "0.0001235"),
        (layout.count, 0, "0"),
        (layout.count, 999, "999"),
        (layout.count, 3_504_872, "3.5 M"),
        (layout.count, 4.1e9, "4.1 G"),
        (layout.size, 13_964_571, "14 MB"),
        (layout.size, 512, "512 B"),
        (layout.size, 5e13, "5e+04 GB"),
        (layout.dimensions, [1, 3, 224], "1x3x224"),
        (layout.listing, ("avx2", "avx512f"), "avx2, avx512f"),
    ],
)
def test_how_values_are_written(write, value, text):
    assert write(value) == text
