"""Sensitivity as a picture: a small chart for each place, so that criteria and methods can be compared."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autocompress.report.curves import LEAST_DAMAGE, by_place, drawn_damage, removed
from autocompress.report.panel_scales import same_scales
from autocompress.report.wording import plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, Any]

_INK, _SOFT, _GRID, _ENERGY = "#1a2230", "#5a6577", "#e6e9ee", "#a9b1be"
_COLOURS = ("#1f5fbf", "#e07b00", "#12805c", "#8a4fbd", "#c0392b", "#8c6d46", "#17a2b8")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_MOST_PANELS, _MOST_BARS = 24, 40
_COLUMNS = 4
_PANEL_INCHES, _DAMAGE_INCHES, _DROP_INCHES = 3.1, 2.1, 1.3
_BAR_INCHES = 0.26
_DPI = 130
_LONGEST_NAME = 34
_DOTTED = {
    "pruning": "dotted line and accuracy: with the layers that read it solved anew",
    "low_rank": "dotted: share of the energy that is lost",
}


def sensitivity_png(document: Row) -> bytes:
    """Draws what ``sensitivity`` has measured.

    Args:
        document: as the api gives it: ``layers`` as bars, ``curves`` as one panel for each place.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = _bars(document) if "layers" in document else _panels(document)
    file = io.BytesIO()
    FigureCanvasAgg(figure).print_png(file, metadata={"Software": None})
    return file.getvalue()


def _bars(document: Row) -> Figure:
    """Damage of each layer in each precision, the most damaging at the top."""
    from matplotlib.figure import Figure

    rows = [row for row in document["layers"] if row["damage"] > 0]
    options = list(dict.fromkeys(row["option"] for row in rows))
    shown = rows[:_MOST_BARS]
    figure = Figure(figsize=(8.5, 1.6 + _BAR_INCHES * max(len(shown), 3)), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    for option in options:
        own = [(i, row["damage"]) for i, row in enumerate(shown) if row["option"] == option]
        color = _COLOURS[options.index(option) % len(_COLOURS)]
        axes.barh([i for i, _ in own], [max(d, LEAST_DAMAGE) for _, d in own], color=color, label=option, height=0.72)
    axes.set_yticks(range(len(shown)), [_name(row["name"]) for row in shown], fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("damage at the output when this layer alone is quantized")
    left = len(rows) - len(shown)
    _dress(axes)
    _title(figure, document, f"{left} less damaging ones are left out" if left else "")
    if len(options) > 1:
        axes.legend(fontsize=8, frameon=False)
    return figure


def _panels(document: Row) -> Figure:
    """Damage against what is removed, per place; accuracy lost above it where it was measured; one scale for all."""
    from matplotlib.figure import Figure

    places = by_place(document["curves"])
    shown = list(places.items())[:_MOST_PANELS]
    kinds = list(dict.fromkeys(_kind(curve) for curves in places.values() for curve in curves))
    columns = min(_COLUMNS, max(len(shown), 1))
    lines = max(math.ceil(len(shown) / columns), 1)
    heights = [_DROP_INCHES, _DAMAGE_INCHES] if document["metric"] else [_DAMAGE_INCHES]
    size = (max(_PANEL_INCHES * columns, 6.0) + 0.4, sum(heights) * lines + 1.1)
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    grid = figure.subplots(len(heights) * lines, columns, squeeze=False, height_ratios=heights * lines)
    panels = [[grid[len(heights) * line + part, column] for part in range(len(heights))]
              for line in range(lines) for column in range(columns)]  # fmt: skip
    for parts, (name, curves) in zip(panels, shown, strict=False):
        _place(parts, name, curves, kinds, document)
    for parts in panels[len(shown) :]:
        for axes in parts:
            axes.set_visible(False)
    same_scales(panels[: len(shown)])
    removed_of = "channels" if document["kind"] == "pruning" else "full rank"
    figure.supxlabel(f"removed of the {removed_of} (%)", fontsize=10, color=_INK)
    left = len(places) - len(shown)
    _title(figure, document, f"{plural(left, 'less sensitive place')} left out" if left else "")
    _legend(figure, [axes for parts in panels for axes in parts], kinds)
    return figure


def _place(parts: Sequence[Axes], name: str, curves: Sequence[Row], kinds: Sequence[str], document: Row) -> None:
    """The charts of one place: its damage, and above it the accuracy lost where that was measured."""
    scale = 100.0 if document["is_fraction"] else 1.0
    for curve in curves:
        number = kinds.index(_kind(curve))
        style: dict[str, Any] = {"color": _COLOURS[number % len(_COLOURS)], "linewidth": 1.4}
        mark: dict[str, Any] = {"marker": _MARKERS[number % len(_MARKERS)], "markersize": 4}
        points = curve["points"]
        xs = [100.0 * removed(curve, point) for point in points]
        parts[-1].plot(xs, [drawn_damage(point) or math.nan for point in points], label=_kind(curve), **style, **mark)
        parts[-1].plot(xs, [_dotted(point) for point in points], color=style["color"], linestyle=":", linewidth=1.2)
        if len(parts) > 1:
            parts[0].plot(xs, [math.nan if p["drop"] is None else p["drop"] * scale for p in points], **style, **mark)
            unit = " (points)" if document["is_fraction"] else ""
            parts[0].set_ylabel(f"lost {document['metric']}{unit}", fontsize=7.5, color=_SOFT)
            parts[0].tick_params(labelbottom=False)
    parts[-1].set_ylabel("damage", fontsize=7.5, color=_SOFT)
    full = " or ".join(dict.fromkeys(str(curve["full"]) for curve in curves))
    parts[0].set_title(f"{_name(name)} ({full})", fontsize=8.5, color=_INK, loc="left")
    for axes in parts:
        _dress(axes)


def _legend(figure: Figure, panels: Sequence[Axes], kinds: Sequence[str]) -> None:
    found: dict[str, Any] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        found |= {text: handle for text, handle in zip(labels, handles, strict=True) if text not in found}
    ordered = [kind for kind in kinds if kind in found]
    if len(ordered) > 1:
        handles = [found[kind] for kind in ordered]
        figure.legend(handles, ordered, loc="outside upper right", ncols=len(ordered), frameon=False, fontsize=9)


def _dotted(point: Row) -> float:
    """The second line of a place: the energy that a rank loses, or the damage with readers solved anew."""
    value = point["compensated"] if point["energy"] is None else 1.0 - point["energy"]
    return math.nan if value is None or not math.isfinite(value) else max(float(value), LEAST_DAMAGE)


def _title(figure: Figure, document: Row, left_out: str) -> None:
    what = {"quantization": "quantized", "pruning": "narrower", "low_rank": "of lower rank"}[document["kind"]]
    notes = [f"each place alone {what}", left_out]
    if document["kind"] in _DOTTED:
        notes.append(_DOTTED[document["kind"]])
    text = "; ".join(note for note in notes if note)
    figure.suptitle(f"Sensitivity: {text}", fontsize=10, color=_INK, x=0.01, ha="left")


def _dress(axes: Axes) -> None:
    axes.grid(color=_GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, colors=_SOFT)
    for label in axes.get_xticklabels():
        label.set_color(_SOFT)


def _kind(curve: Row) -> str:
    return str(curve["method"] or curve["criterion"])


def _name(name: str) -> str:
    """A name's end, which tells layers of one block apart; dollar signs would start mathematics."""
    text = name if len(name) <= _LONGEST_NAME else f"…{name[-_LONGEST_NAME + 1 :]}"
    return text.replace("$", r"\$")
