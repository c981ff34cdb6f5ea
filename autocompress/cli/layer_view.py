"""``inspect`` in the terminal, layer by layer: where zeros are, and what was done against another model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

Row = Mapping[str, Any]

# Rounding to integers alone makes up to about a tenth of zeros, which says nothing.
_TELLING_SHARE = 0.2


def show_zeros(layers: Sequence[Row]) -> Iterable[RenderableType]:
    """The layers whose zeros say something, with the parts that are all zero; nothing where there are none."""
    from rich.text import Text

    from autocompress.cli.layout import Column, count, listing, percent, rows_table
    from autocompress.report.wording import plural

    telling = [layer for layer in layers if _says_something(layer)]
    if not telling:
        return
    yield Text("\nLayers with zeros", style="bold")
    yield rows_table(
        [_zeros(layer) for layer in telling],
        [
            Column("name", "layer"),
            Column("op_type", "type"),
            Column("weight_dtype", "weight"),
            Column("elements", "numbers", count, right=True),
            Column("nonzero", "not zero", count, right=True),
            Column("sparsity", "zeros", percent, right=True),
            Column("zero_kernels", "kernels", percent, right=True),
            Column("zero_rows", "output channels", percent, right=True),
            Column("zero_channels", "input channels", percent, right=True),
            Column("patterns", "pattern", listing),
        ],
    )
    left = len(layers) - len(telling)
    if left:
        yield Text(f"{plural(left, 'other layer')} without many zeros; --json has them all", style="dim")


def show_changes(changes: Row) -> Iterable[RenderableType]:
    """What was done to each layer, with multiply-adds and parameters before and after."""
    from rich.text import Text

    from autocompress.cli.layout import Column, rows_table
    from autocompress.report.wording import plural

    done = [layer for layer in changes["layers"] if layer["done"]]
    yield Text(f"\nWhat was done, against {changes['against']}", style="bold")
    if done:
        yield rows_table(
            [_change(layer) for layer in done],
            [
                Column("name", "layer"),
                Column("op_type", "type"),
                Column("done", "done"),
                Column("macs", "multiply-adds", right=True),
                Column("parameters", "parameters", right=True),
            ],
        )
    same = len(changes["layers"]) - len(done)
    yield Text(f"unchanged: {plural(same, 'layer')}", style="dim")
    yield Text(
        f"all layers: {_from_to(changes['before']['macs'], changes['after']['macs'])} multiply-adds, "
        f"{_from_to(changes['before']['parameters'], changes['after']['parameters'])} parameters"
    )


def _says_something(layer: Row) -> bool:
    return bool(layer["sparsity"] >= _TELLING_SHARE or layer["zero_rows"] or layer["zero_channels"])


def _zeros(layer: Row) -> dict[str, Any]:
    """The row of a layer; shares of nothing are left out, so that a column without any disappears."""
    shares = {key: layer[key] or None for key in ("zero_kernels", "zero_rows", "zero_channels")}
    if not layer["kernel"] or max(layer["kernel"]) == 1:
        shares["zero_kernels"] = None  # a kernel of one element says what the zeros say
    return {**layer, **shares, "patterns": layer["patterns"] or None}


def _change(layer: Row) -> dict[str, Any]:
    return {
        "name": layer["name"],
        "op_type": layer["op_type"],
        "done": "; ".join(layer["done"]),
        "macs": _from_to(layer["macs_before"], layer["macs_after"]),
        "parameters": _from_to(layer["parameters_before"], layer["parameters_after"]),
    }


def _from_to(before: int | None, after: int | None) -> str:
    from autocompress.cli.layout import count

    if before is None or after is None or before == after:
        return "?" if after is None else count(after)
    return f"{count(before)} -> {count(after)}"
