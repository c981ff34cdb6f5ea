"""Plotly figures as plain data.  Colours are names such as "$measured"; the page's script fills in the theme's."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from autocompress.measurement import Interval
from autocompress.report.agreement import Pair
from autocompress.report.points import Point, Points
from autocompress.report.recipes import describe_steps
from autocompress.report.window import padded
from autocompress.report.wording import Scale, bounds, milliseconds, size, times
from autocompress.store.records import CandidateRecord

Figure = dict[str, Any]
Trace = dict[str, Any]

_HOVER_WIDTH = 64


def agreement_chart(
    series: Mapping[str, Sequence[Pair]], *, factor: float, axis: str, band: float | None, include: Sequence[float] = ()
) -> Figure:
    """Predicted (x) against measured (y), with the line where both agree.

    Args:
        series: pairs by name; "verified" in the name gets the colour of verified points.
        factor: what values are multiplied by.
        axis: what is shown, with its unit.
        band: relative error that a shaded band shows; None for none.
        include: values that the axes reach in any case.
    """
    traces: list[Trace] = []
    for name, pairs in series.items():
        verified = "verif" in name
        trace = {
            "type": "scatter",
            "mode": "markers",
            "name": name,
            "x": [p.predicted * factor for p in pairs],
            "y": [p.measured * factor for p in pairs],
            "text": [f"trial {p.trial}" for p in pairs],
            "hovertemplate": "%{text}<br>predicted %{x:.4g}<br>measured %{y:.4g}<extra></extra>",
            "marker": {
                "color": "$verified" if verified else "$measured",
                "symbol": "diamond" if verified else "circle",
                "size": 10 if verified else 7,
            },
        }
        if verified and any(p.interval for p in pairs):
            trace["error_x"] = bars([(p.predicted, p.interval) for p in pairs], factor, "$verified")
        traces.append(trace)
    values = [value * factor for value in include]
    values += [value for trace in traces for value in (*trace["x"], *trace["y"])]
    limits = padded(min(values), max(values)) if values else (0.0, 1.0)
    shapes = _diagonal(limits, band)
    layout = {
        "xaxis": {"title": {"text": f"predicted {axis}"}, "range": list(limits)},
        "yaxis": {"title": {"text": f"measured {axis}"}, "range": list(limits)},
        "shapes": shapes,
        "hovermode": "closest",
    }
    return {"data": traces, "layout": layout, "height": 380}


def history(candidates: Sequence[CandidateRecord], points: Points, limit: float | None, scale: Scale) -> Figure:
    """Trial by trial: what was measured, what was only estimated, and the best within the budget so far."""
    best: list[tuple[int, float]] = []
    for point in sorted(points.searched, key=lambda p: p.candidate.trial):
        if limit is not None and point.drop > limit:
            continue
        if not best or point.speedup > best[-1][1]:
            best.append((point.candidate.trial, point.speedup))
    if best:
        best.append((candidates[-1].trial, best[-1][1]))
    traces = [
        _by_trial("pruned before it was built, estimated", points.predicted, scale, "$predicted", "x"),
        _by_trial("drop measured, latency estimated", points.priced, scale, "$estimated", "circle-open"),
        _by_trial("measured on the search part", points.searched, scale, "$measured", "circle"),
        {
            "type": "scatter",
            "mode": "lines",
            "name": "best within the accuracy budget so far",
            "x": [trial for trial, _ in best],
            "y": [speedup for _, speedup in best],
            "line": {"shape": "hv", "color": "$measured", "width": 2},
            "hoverinfo": "skip",
        },
    ]
    layout = {
        "xaxis": {"title": {"text": "trial"}},
        "yaxis": {"title": {"text": "speedup"}, "ticksuffix": "×"},
        "hovermode": "closest",
    }
    return {"data": [trace for trace in traces if trace["x"]], "layout": layout, "height": 340}


def hover_text(point: Point, scale: Scale) -> str:
    """What a point says of itself, as plotly's markup."""
    candidate = point.candidate
    lines = [
        f"<b>trial {candidate.trial}</b> ({candidate.origin})",
        f"drop {scale.drop(point.drop)}",
        f"latency {milliseconds(point.latency_ms)}, {times(point.speedup)}{', estimated' if point.estimated else ''}",
        f"size {size(candidate.size_bytes)}",
        *(_plotly_escaped(line) for step in describe_steps(candidate.recipe) for line in _wrapped(step)),
    ]
    return "<br>".join(lines)


def scatter(name: str, points: Sequence[Point], scale: Scale, color: str, symbol: str, pixels: int) -> Trace:
    """Points in the plane of speedup and change of accuracy."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [p.speedup for p in points],
        "y": [-p.drop * scale.factor for p in points],
        "text": [hover_text(p, scale) for p in points],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {"color": color, "symbol": symbol, "size": pixels},
    }


def _by_trial(name: str, points: Sequence[Point], scale: Scale, color: str, symbol: str) -> Trace:
    trace = scatter(name, points, scale, color, symbol, 7)
    return trace | {"x": [p.candidate.trial for p in points], "y": [p.speedup for p in points]}


def bars(values: Sequence[tuple[float, Interval | None]], factor: float, color: str) -> dict[str, Any]:
    """Error bars from (value, interval) pairs."""
    above, below = [], []
    for value, interval in values:
        low, high = bounds(interval)
        above.append(0.0 if high is None else max(0.0, high - value) * factor)
        below.append(0.0 if low is None else max(0.0, value - low) * factor)
    return {
        "type": "data",
        "symmetric": False,
        "array": above,
        "arrayminus": below,
        "color": color,
        "thickness": 1.2,
        "width": 4,
    }


def _diagonal(limits: Sequence[float], band: float | None) -> list[dict[str, Any]]:
    low, high = limits
    shapes: list[dict[str, Any]] = []
    if band is not None:
        low = max(low, 0.0)
        corners = [(low, 1 - band), (high, 1 - band), (high, 1 + band), (low, 1 + band)]
        path = "M " + " L ".join(f"{x},{x * slope}" for x, slope in corners) + " Z"
        shapes.append({"type": "path", "path": path, "fillcolor": "$goal", "line": {"width": 0}, "layer": "below"})
    line = {"color": "$limit", "width": 1.2, "dash": "dot"}
    return [*shapes, {"type": "line", "x0": low, "y0": low, "x1": high, "y1": high, "line": line, "layer": "below"}]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _HOVER_WIDTH, subsequent_indent="  ") or [""]


def _plotly_escaped(text: str) -> str:
    # Plotly reads a small set of tags in texts; this leaves it none to read.
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
