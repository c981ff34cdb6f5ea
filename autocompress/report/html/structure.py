"""Layers side by side: what was done to each, and what that makes of its multiply-adds, parameters and zeros."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autocompress.report.html.markup import Cell, Column, Markup, details, element, join, paragraph, section, table
from autocompress.report.wording import MISSING, count, percent, plural

ANCHOR, TITLE = "structure", "Structure"

Row = Mapping[str, Any]

_KEPT_SPACE = "\u00a0"  # at which no line is broken

_SIDE_BY_SIDE = [
    Column("Layer", wide=True),
    Column("Type"),
    Column("What was done", wide=True),
    Column("Channels", hint="channels that it reads → channels that it computes; before, and after"),
    Column("MACs before", numeric=True, hint="multiply-accumulate operations of one run"),
    Column("MACs after", numeric=True, hint="of all its parts together"),
    Column("Share left", numeric=True, hint="of its multiply-accumulates"),
    Column("Weights before", numeric=True, hint="parameters, biases among them"),
    Column("Weights after", numeric=True),
    Column("Zeros", numeric=True, hint="share of stored numbers that are zero, or equal their zero point"),
]
_ZEROS = [
    Column("Layer", wide=True),
    Column("Stored as"),
    Column("Numbers", numeric=True, hint="in its weight"),
    Column("NNZ", numeric=True, hint="of them, not zero"),
    Column("Elements", numeric=True, hint="share of numbers that are zero"),
    Column("Kernels", numeric=True, hint="share of k × k kernels that are all zero"),
    Column("Output channels", numeric=True, hint="share of output channels that are all zero"),
    Column("Input channels", numeric=True, hint="share of input channels that are all zero"),
    Column("Pattern"),
]


def structure(document: Row | None) -> Markup | str:
    """Every layer before and after; nothing where layers themselves were not changed.

    Args:
        document: ``structure`` of a summary.
    """
    if not document:
        return ""
    rows: Sequence[Row] = document["layers"]
    changed = sum(bool(row["done"]) for row in rows)
    sentence = (
        f"{_sum(document, 'macs', 'multiply-adds')}, {_sum(document, 'parameters', 'parameters')}. "
        f"{plural(changed, 'layer')} of {len(rows)} changed. Parts of a decomposed layer stand under its name; counts "
        "are of the stored model, before the runtime fuses and packs it."
    )
    largest = max((row["macs_before"] or 0 for row in rows), default=0)
    return section(
        TITLE,
        ANCHOR,
        paragraph(sentence, kind="note"),
        table(_SIDE_BY_SIDE, [_pair(row, largest) for row in rows], caption="Layers of the original and the best."),
        _zeros(rows),
    )


def _sum(document: Row, key: str, noun: str) -> str:
    before, after = document["before"][key], document["after"][key]
    if before is None or after is None:
        return f"{count(after if before is None else before)} {noun}"
    return f"{count(before)} → {count(after)} {noun} ({percent(after / before if before else 1.0)} left)"


def _pair(row: Row, largest: int) -> list[Cell | object]:
    before, after = row["macs_before"], row["macs_after"]
    left = after / before if before and after is not None else None
    done = [element("div", text) for text in row["done"]]
    return [
        Cell(join([element("span", row["name"], class_="name"), *_parts(row)]), row["name"]),
        row["op_type"],
        Cell(join(done), "; ".join(row["done"])) if done else MISSING,
        _channels(row),
        Cell(count(before), before, before / largest if before and largest else None),
        Cell(count(after), after, after / largest if after and largest else None),
        Cell(percent(left), left),
        Cell(count(row["parameters_before"]), row["parameters_before"]),
        Cell(count(row["parameters_after"]), row["parameters_after"]),
        Cell(percent(row["sparsity"]), row["sparsity"]),
    ]


def _parts(row: Row) -> list[Markup]:
    """The parts of a decomposed layer, each with its channels and kernel."""
    parts = row["after"]
    return [element("small", f"{_kernel(part)}{_in_out(part)}") for part in parts] if len(parts) > 1 else []


def _channels(row: Row) -> Cell:
    before, after = row["before"], row["after"]
    was = _in_out(before) if before else MISSING
    now = _from_to(after[0]["inputs"], after[-1]["outputs"]) if after else MISSING
    shown = was if was == now else join([was, element("small", f"now{_KEPT_SPACE}{now}")])
    return Cell(shown, before["outputs"] if before else 0)


def _in_out(part: Row) -> str:
    return _from_to(part["inputs"], part["outputs"])


def _from_to(before: int, after: int) -> str:
    return f"{before}{_KEPT_SPACE}→{_KEPT_SPACE}{after}"


def _kernel(part: Row) -> str:
    return f"{'×'.join(map(str, part['kernel']))}, " if part["kernel"] else ""


def _zeros(rows: Sequence[Row]) -> Markup:
    parts = [part for row in rows for part in row["after"]]
    total = sum(part["elements"] for part in parts)
    nonzero = sum(part["nonzero"] for part in parts)
    share = percent(1.0 - nonzero / total) if total else MISSING
    shown = [
        [
            Cell(element("span", part["name"], class_="name"), part["name"]),
            f"{part['weight_dtype']} {part['granularity'].replace('_', ' ')}".strip(),
            Cell(count(part["elements"]), part["elements"]),
            Cell(count(part["nonzero"]), part["nonzero"]),
            *(
                Cell(percent(part[key]), part[key], part[key] or None)
                for key in ("sparsity", "zero_kernels", "zero_rows", "zero_channels")
            ),
            ", ".join(part["patterns"]) or MISSING,
        ]
        for part in parts
    ]
    return details(
        f"Zeros layer by layer: {share} of all weights", table(_ZEROS, shown, caption="Zeros of each layer.")
    )
