"""Draws placed boxes as SVG that needs nothing but a browser."""

from __future__ import annotations

from collections.abc import Sequence

from autocompress.report.graph_picture.box import Box
from autocompress.report.graph_picture.columns import columns
from autocompress.report.graph_picture.placement import Placement, place
from autocompress.report.html.markup import Markup, element

_COLOURS = {
    "float": ("#e8eefc", "#3b66b8"),
    "int8": ("#e3f5ea", "#1e8a54"),
    "low_bits": ("#d6f0f2", "#11757f"),
    "conversion": ("#fdebd3", "#b86a00"),
    "movement": ("#f0f0f2", "#7b8190"),
}
_NAMES = {
    "float": "floating point",
    "int8": "8-bit integers",
    "low_bits": "4-bit weights",
    "conversion": "conversion between them, or of layout",
    "movement": "moves data only",
}
_WIDTH, _GAP, _BEND = 168.0, 22.0, 26.0
_TITLE, _LINE, _PAD, _LAYER_GAP = 17.0, 13.0, 7.0, 30.0
_MARGIN, _LEGEND = 24.0, 64.0
_BAR = 4.0
# Between columns: lines go up side by side in lanes.
_GUTTER, _LANE, _LANES, _TURN = 64.0, 7.0, 8, 26.0
MOST_LETTERS, _TITLE_LETTERS = 26, 13
_BADGE = "#8a1c7c"


def graph_svg(title: str, boxes: Sequence[Box]) -> str:
    """The picture of a graph.

    Args:
        title: stands above it.
        boxes: in an order in which each stands after those that it reads.

    Raises:
        ValueError: when a box reads one that does not stand before it.
    """
    placement = place([box.reads for box in boxes])
    heights = [max([_height(boxes[n]) for n in layer if n < len(boxes)], default=0.0) for layer in placement.layers]
    width = max([_layer_width(layer, len(boxes)) for layer in placement.layers], default=0.0)
    width = max(width, 640.0)
    step = width + _GUTTER
    slots = columns(heights, _crossing(placement), step, _LAYER_GAP)
    tops = [_MARGIN + _LEGEND + slot.top for slot in slots]
    at = _centres(placement, len(boxes), width, [slot.column * step for slot in slots])
    bottom = max((top + height for top, height in zip(tops, heights, strict=True)), default=_LEGEND) + _MARGIN
    gutters = [_MARGIN + (slot.column + 1) * step - _GUTTER for slot in slots]
    lines = _edges(boxes, placement, at, tops, heights, gutters)
    drawn = [
        _box(boxes[node], at[node], tops[layer])
        for layer, nodes in enumerate(placement.layers)
        for node in nodes
        if node < len(boxes)
    ]
    used = [kind for kind in _COLOURS if any(box.kind == kind for box in boxes)]
    full = width + 2 * _MARGIN + step * max((slot.column for slot in slots), default=0)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        + element(
            "svg",
            element("title", title),
            element("rect", width="100%", height="100%", fill="#ffffff"),
            element("text", title, x=_MARGIN, y=_MARGIN + 6, font_size=16, font_weight="bold", fill="#1a2230"),
            *_legend(used),
            *lines,
            *drawn,
            xmlns="http://www.w3.org/2000/svg",
            viewBox=f"0 0 {full:.0f} {bottom:.0f}",
            width=f"{full:.0f}",
            height=f"{bottom:.0f}",
            font_family="system-ui, sans-serif",
        )
        + "\n"
    )


def _height(box: Box) -> float:
    rows = len(box.lines) + len(box.changes)
    return 2 * _PAD + _TITLE + rows * _LINE + _BAR


def _layer_width(layer: Sequence[int], count: int) -> float:
    return sum(_span(node, count) for node in layer) + _GAP * max(len(layer) - 1, 0)


def _span(node: int, count: int) -> float:
    return _WIDTH if node < count else _BEND


def _crossing(placement: Placement) -> list[int]:
    """For each layer, how many lines come down to it from the layer above."""
    layer_of = {node: i for i, layer in enumerate(placement.layers) for node in layer}
    found = [0] * len(placement.layers)
    for (reader, _), bends in placement.paths.items():
        for node in (*bends, reader):
            found[layer_of[node]] += 1
    return found


def _centres(placement: Placement, count: int, width: float, shifts: Sequence[float]) -> dict[int, float]:
    """Horizontal centres; every layer stands in the middle of its column."""
    at = {}
    for layer, shift in zip(placement.layers, shifts, strict=True):
        x = _MARGIN + shift + (width - _layer_width(layer, count)) / 2
        for node in layer:
            at[node] = x + _span(node, count) / 2
            x += _span(node, count) + _GAP
    return at


def _edges(
    boxes: Sequence[Box],
    placement: Placement,
    at: dict[int, float],
    tops: Sequence[float],
    heights: Sequence[float],
    gutters: Sequence[float],
) -> list[Markup]:
    layer_of = {node: i for i, layer in enumerate(placement.layers) for node in layer}
    lines, taken = [], dict.fromkeys(gutters, 0)
    for (reader, read), bends in placement.paths.items():
        start = layer_of[read]
        x, y = at[read], tops[start] + _height(boxes[read])
        path = [f"M{x:.1f} {y:.1f}"]
        for layer, node in enumerate((*bends, reader), start + 1):
            end = (at[node], tops[layer])
            if gutters[layer] == gutters[layer - 1]:
                path.append(_curve((x, y), end))
            else:
                gutter = gutters[layer - 1]
                path.append(_around((x, y), gutter + _LANE * (1 + taken[gutter] % _LANES), end))
                taken[gutter] += 1
            x, y = end
            if node != reader:
                y += heights[layer]
                path.append(f"L{x:.1f} {y:.1f}")
        lines.append(element("path", d="".join(path), fill="none", stroke="#9aa3b2", stroke_width=1.2))
    return lines


def _curve(start: tuple[float, float], end: tuple[float, float]) -> str:
    """Down to the next layer."""
    middle = (start[1] + end[1]) / 2
    return f"C{start[0]:.1f} {middle:.1f} {end[0]:.1f} {middle:.1f} {end[0]:.1f} {end[1]:.1f}"


def _around(start: tuple[float, float], gutter: float, end: tuple[float, float]) -> str:
    """Out of the bottom of a column, up beside it, and into the top of the next."""
    low, high = start[1] + _TURN, end[1] - _TURN
    return (
        f"C{start[0]:.1f} {low:.1f} {gutter:.1f} {low:.1f} {gutter:.1f} {start[1]:.1f}"
        f"L{gutter:.1f} {end[1]:.1f}"
        f"C{gutter:.1f} {high:.1f} {end[0]:.1f} {high:.1f} {end[0]:.1f} {end[1]:.1f}"
    )


def _box(box: Box, centre: float, top: float) -> Markup:
    fill, stroke = _COLOURS[box.kind]
    left, height = centre - _WIDTH / 2, _height(box)
    y = top + _PAD + 12
    texts = [
        element("text", _cut(box.title, _TITLE_LETTERS), x=left + 8, y=y, font_size=12.5, font_weight="bold",
                fill=stroke),
        element("text", f"{100 * box.share:.1f} %", x=left + _WIDTH - 8, y=y, font_size=11, fill=stroke,
                text_anchor="end"),
    ]  # fmt: skip
    for line in box.lines:
        y += _LINE
        texts.append(element("text", _cut(line), x=left + 8, y=y, font_size=10.5, fill="#3a4356"))
    for change in box.changes:
        y += _LINE
        texts.append(element("text", _cut(change), x=left + 8, y=y, font_size=10.5, font_weight="bold",
                             fill=_BADGE))  # fmt: skip
    bar = element("rect", x=left + 1, y=top + height - _BAR - 1, width=max((_WIDTH - 2) * min(box.share, 1.0), 0.5),
                  height=_BAR, fill=stroke, rx=2)  # fmt: skip
    frame = element("rect", x=left, y=top, width=_WIDTH, height=height, rx=7, fill=fill,
                    stroke=_BADGE if box.changes else stroke,
                    stroke_width=2 if box.changes else 1)  # fmt: skip
    return element("g", element("title", box.tooltip), frame, *texts, bar)


def _legend(kinds: Sequence[str]) -> list[Markup]:
    parts, x = [], _MARGIN
    for kind in kinds:
        fill, stroke = _COLOURS[kind]
        parts.append(element("rect", x=x, y=_MARGIN + 20, width=14, height=12, rx=3, fill=fill, stroke=stroke))
        parts.append(element("text", _NAMES[kind], x=x + 20, y=_MARGIN + 30, font_size=11, fill="#3a4356"))
        x += 36 + 6.2 * len(_NAMES[kind])
    return parts


def _cut(text: str, letters: int = MOST_LETTERS) -> str:
    return text if len(text) <= letters else f"{text[: letters - 1]}…"
