"""The report as tables for a terminal, or in Markdown for a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
Column = tuple[str, Callable[[Row], str]]
_DASH = "-"
METHOD_NAMES = {
    "estimate": "this estimator",
    "no_hits": "the same, never having seen any operator of the test set",
    "table_only": "table only (else a bound)",
    "forest_only": "forests only",
    "flops": "FLOPs, linear",
    "flops_bytes": "FLOPs + bytes, linear",
    "profile_sum": "sum of the runtime's own profile",
    "nn_meter": "nn-Meter's features, our data",
}
SET_NAMES = {"A": "A: families unseen", "B": "B: known families, unseen models", "C": "C: candidates of one model"}


def tables(document: Row, *, models: bool = True) -> list[tuple[str, list[list[str]]]]:
    """Headings with tables; the first row of each holds the column names.

    Args:
        document: the report.
        models: whether every model gets a line of its own.
    """
    scores = document["scores"]
    found = [
        ("Targets", _table(_TARGETS, document["targets"])),
        ("Accuracy", _table([_SET, _K, _SETTING, *_ACCURACY, *_INTERVALS, *_NOISE], scores["accuracy"])),
        ("Methods, all settings", _table([_SET, _K, _METHOD, *_ACCURACY], scores["methods"])),
        ("Order of the candidates of one model", _table([_K, _METHOD, *_RANKS], scores["ranking"])),
        ("Is int8 faster than fp32, where they differ by over 5 %", _table([_SET, _METHOD, *_SIGNS], scores["signs"])),
        ("Who priced the nodes", _table([_SET, *_PRICED], scores["priced"])),
        ("By form", _table([_SET, ("form", lambda r: str(r["form"])), *_ACCURACY, *_NOISE], scores["forms"])),
        ("By model", _table([_SET, ("model", lambda r: str(r["model"])), *_ACCURACY, *_NOISE], scores["families"])),
    ]
    if models:
        found.append(("Models", _table(_MODELS, document["models"])))
    return [(heading, table) for heading, table in found if len(table) > 1]


def as_terminal(heading: str, table: Sequence[Sequence[str]]) -> str:
    """Aligned columns under a heading."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    return "\n".join([heading, "=" * len(heading), *lines, ""])


def as_markdown(heading: str, table: Sequence[Sequence[str]]) -> str:
    """A Markdown section."""
    head, *rows = [f"| {' | '.join(row)} |" for row in table]
    return "\n".join([f"### {heading}", "", head, "|" + " --- |" * len(table[0]), *rows, ""])


def _table(columns: Sequence[Column], rows: Sequence[Row]) -> list[list[str]]:
    return [[name for name, _ in columns], *([form(row) for _, form in columns] for row in rows)]


def _percent(value: float | None, digits: int = 1) -> str:
    return _DASH if value is None else f"{100 * value:.{digits}f}"


def _share(*path: str) -> Callable[[Row], str]:
    """A share in percent with its interval, such as "93.3 [84, 97]"."""

    def form(row: Row) -> str:
        found = _at(row, path)
        if not found or not found["n"]:
            return _DASH
        return f"{_percent(found['share'])} [{_percent(found['low'], 0)}, {_percent(found['high'], 0)}]"

    return form


def _number(*path: str, digits: int = 1) -> Callable[[Row], str]:
    return lambda row: _percent(_at(row, path), digits)


def _plain(*path: str, form: str = "{}") -> Callable[[Row], str]:
    def show(row: Row) -> str:
        value = _at(row, path)
        return _DASH if value is None else form.format(value)

    return show


def _at(row: Any, path: Sequence[str]) -> Any:
    for key in path:
        row = row.get(key) if isinstance(row, Mapping) else None
    return row


def _method(row: Row) -> str:
    return METHOD_NAMES.get(row["method"], str(row["method"]))


def _limited(row: Row) -> str:
    interval = row["interval95"]
    return _percent(row["value"]) + (f" [{_percent(interval[0], 0)}, {_percent(interval[1], 0)}]" if interval else "")


def _error(row: Row) -> str:
    said = row["predictions"].get("estimate")
    return _DASH if said is None else f"{100 * (said[0] / row['truth_ms'] - 1):+.1f}"


_SET: Column = ("set", lambda row: SET_NAMES[str(row["set"])])
_K: Column = ("k", _plain("k"))
_SETTING: Column = ("setting", _plain("setting"))
_METHOD: Column = ("method", _method)
_ACCURACY: list[Column] = [
    ("n", _plain("n")), ("within 5 %", _share("within_5")), ("within 10 %", _share("within_10")),
    ("MAPE", _number("mape")), ("bias", _number("bias")), ("Spearman", _plain("spearman", form="{:.3f}")),
]  # fmt: skip
_INTERVALS: list[Column] = [
    ("90 % interval holds", _share("interval90")), ("its width", _number("interval90", "mean_width", digits=0)),
]  # fmt: skip
_NOISE: list[Column] = [
    ("floor: within 5 %", _number("noise", "within_5", "share")),
    ("floor: within 10 %", _number("noise", "within_10", "share")),
    ("floor: MAPE", _number("noise", "mape")),
]
_RANKS: list[Column] = [
    ("Spearman", _plain("spearman", form="{:.3f}")), ("groups within 20 %", _plain("windows")),
    ("Spearman there", _plain("close_spearman", form="{:.3f}")),
    ("floor", _plain("close_spearman_noise", form="{:.3f}")), ("mean regret %", _number("mean_regret", digits=2)),
    ("worst regret %", _number("worst_regret")), ("regret within 2 %", _share("chosen_within_2")),
]  # fmt: skip
_SIGNS: list[Column] = [
    ("right", lambda row: _share()(row)), ("pairs", _plain("n")),
    ("wrong", lambda row: ", ".join(row["wrong"][:4]) or _DASH),
]  # fmt: skip
_PRICED: list[Column] = [
    ("nodes", _plain("nodes")), ("table %", _number("node_share", "table")),
    ("forest %", _number("node_share", "forest")), ("bound %", _number("node_share", "bound")),
    ("unpriced", _plain("unpriced")), ("time from the table %", _number("time_share", "table")),
    ("models all from the table", _plain("models_all_hits")),
]  # fmt: skip
_TARGETS: list[Column] = [
    ("target", _plain("target")), ("at least or most", _number("limit")), ("measured", _limited),
    ("met", lambda row: "yes" if row["met"] else "no"),
]  # fmt: skip
_MODELS: list[Column] = [
    ("model", lambda row: f"{row['set']}/{row['model']}/{row['name']}"), ("setting", _plain("setting")),
    ("ms", _plain("truth_ms", form="{:.3f}")), ("error %", _error),
    ("rounds", lambda row: " ".join(f"{ms:.3f}" for ms in row["rounds_ms"])),
    ("table %", _number("time_share", "table", digits=0)),
]  # fmt: skip
