"""The Pareto picture: speedup against change of accuracy, up and to the right is better.

Each trace holds one kind of point and its name says which: measured points never share a trace with estimated ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autocompress.measurement import Interval
from autocompress.report.html.charts import Figure, Trace, bars, scatter
from autocompress.report.points import Point, Points
from autocompress.report.verdict import summary_scale
from autocompress.report.window import drop_window, speedup_window, target_speedup
from autocompress.report.wording import Scale, times

_MOST_VISIBLE_PREDICTIONS = 300


def pareto(points: Points, summary: Mapping[str, Any]) -> Figure:
    """Speedup against change of accuracy: up and to the right is better."""
    scale = summary_scale(summary)
    traces = [
        scatter("predicted only: drop and latency estimated", points.predicted, scale, "$predicted", "x", 6),
        scatter("search part: drop measured, latency estimated", points.priced, scale, "$estimated", "circle-open", 8),
        scatter("search part: drop and latency measured", points.searched, scale, "$measured", "circle", 8),
        _front_line(points, scale),
        scatter("verified: held-out samples, timed in turns (95 %)", points.verified, scale, "$verified", "diamond", 12)
        | _error_bars(points.verified, scale, "$verified"),
        scatter(
            "finalists: held-out samples, latency estimated, not verified (90 %)",
            points.unverified,
            scale,
            "$estimated",
            "diamond-open",
            12,
        )
        | _error_bars(points.unverified, scale, "$estimated"),
        _emitted(points, summary, scale),
        _baseline(scale),
    ]
    if len(points.predicted) > _MOST_VISIBLE_PREDICTIONS:
        traces[0]["visible"] = "legendonly"
    speeds, drops = speedup_window(points, summary), drop_window(points, summary)
    lines, labels = _limits(summary, scale, middle=sum(speeds) / 2)
    unit = f" ({scale.drop_unit})" if scale.drop_unit else ""
    layout = {
        "xaxis": {
            "title": {"text": "speedup (baseline latency / latency)"},
            "ticksuffix": "×",
            "range": list(speeds),
        },
        "yaxis": {
            "title": {"text": f"change of accuracy{unit}"},
            "range": [-drops[1] * scale.factor, -drops[0] * scale.factor],
        },
        "shapes": lines,
        "annotations": labels,
        "hovermode": "closest",
    }
    return {"data": [trace for trace in traces if trace["x"]], "layout": layout, "height": 520}


def _front_line(points: Points, scale: Scale) -> Trace:
    measured = "measured" if points.front_is_measured else "latency estimated"
    return {
        "type": "scatter",
        "mode": "lines",
        "name": f"front of the search part ({measured})",
        "x": [p.speedup for p in points.front],
        "y": [-p.drop * scale.factor for p in points.front],
        "line": {
            "shape": "vh",
            "color": "$measured" if points.front_is_measured else "$estimated",
            "width": 2,
        },
        "hoverinfo": "skip",
    }


def _emitted(points: Points, summary: Mapping[str, Any], scale: Scale) -> Trace:
    number = (summary.get("best") or {}).get("trial")
    chosen = [p for p in (*points.verified, *points.unverified) if p.candidate.trial == number]
    trace = scatter("best: the emitted model", chosen, scale, "$best", "circle-open", 22)
    trace["marker"]["line"] = {"width": 3, "color": "$best"}
    return trace | {"hoverinfo": "skip", "hovertemplate": None}


def _baseline(scale: Scale) -> Trace:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "baseline",
        "x": [1.0],
        "y": [0.0],
        "hovertemplate": "baseline<extra></extra>",
        "marker": {"color": "$ink", "symbol": "star", "size": 14},
    }


def _error_bars(points: Sequence[Point], scale: Scale, color: str) -> Trace:
    turned = [(-p.drop, _turned(p.drop_interval)) for p in points]
    return {
        "error_x": bars([(p.speedup, p.speedup_interval) for p in points], 1.0, color),
        "error_y": bars(turned, scale.factor, color),
    }


def _turned(interval: Interval | None) -> Interval | None:
    return None if interval is None else Interval(-interval.high, -interval.low)


def _limits(
    summary: Mapping[str, Any], scale: Scale, *, middle: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Lines of target and budget with their labels, and the area where both are kept."""
    shapes: list[dict[str, Any]] = []
    labels: list[dict[str, Any]] = []
    line = {"color": "$limit", "width": 1.5, "dash": "dash"}
    speedup, limit = target_speedup(summary), summary.get("max_accuracy_drop")
    if speedup is not None:
        anchor = "right" if speedup > middle else "left"  # towards where there is room
        shapes.append({"type": "line", "x0": speedup, "x1": speedup, "yref": "paper", "y0": 0, "y1": 1, "line": line})
        labels.append(
            _label(f"target {times(speedup)}", x=speedup, xanchor=anchor, yref="paper", y=0, yanchor="bottom")
        )
    if limit is not None:
        y = -limit * scale.factor
        shapes.append({"type": "line", "y0": y, "y1": y, "xref": "paper", "x0": 0, "x1": 1, "line": line})
        text = f"budget {scale.drop(-limit)}"
        labels.append(_label(text, y=y, yanchor="top", xref="paper", x=0, xanchor="left"))
    if speedup is not None and limit is not None:
        goal = {"x0": speedup, "x1": speedup + 1e3, "y0": -limit * scale.factor, "y1": 1e6}
        shapes.append({"type": "rect", "fillcolor": "$goal", "line": {"width": 0}, "layer": "below", **goal})
    return shapes, labels


def _label(text: str, **place: object) -> dict[str, Any]:
    return {"text": text, "showarrow": False, "font": {"color": "$limit", "size": 12}, **place}
