"""The Pareto picture as PNG, drawn without a browser."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autocompress.report.points import Point, Points, study_points
from autocompress.report.verdict import summary_scale, verdict
from autocompress.report.window import drop_window, speedup_window, target_speedup
from autocompress.report.wording import Scale, bounds, times
from autocompress.store.records import StudyRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MEASURED, _ESTIMATED, _PREDICTED, _VERIFIED = "#1f5fbf", "#8a4fbd", "#a9b1be", "#12805c"
_BEST, _LIMIT, _INK = "#d99a00", "#c0392b", "#1a2230"
_INCHES = (9.0, 6.2)
_DPI = 144


def pareto_png(record: StudyRecord, summary: Mapping[str, Any]) -> bytes:
    """Speedup against change of accuracy, with the same points, lines and first view as in the page."""
    # Figure alone, not pyplot: pyplot keeps every figure in global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    points, scale = study_points(record, summary), summary_scale(summary)
    figure = Figure(figsize=_INCHES, dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    _points(axes, points, summary, scale)
    _limits(axes, summary, scale)
    _frame(axes, points, summary, scale)
    title = f"{record.header.name}: {verdict(summary).headline}"
    axes.set_title(_plain(title), loc="left", fontsize=11, color=_INK)
    file = io.BytesIO()
    FigureCanvasAgg(figure).print_png(file, metadata={"Software": None})
    return file.getvalue()


def _points(axes: Axes, points: Points, summary: Mapping[str, Any], scale: Scale) -> None:
    _scatter(axes, points.predicted, scale, "predicted only", marker="x", color=_PREDICTED, s=18, linewidths=0.9)
    _scatter(
        axes,
        points.priced,
        scale,
        "search: drop measured, latency estimated",
        marker="o",
        facecolors="none",
        edgecolors=_ESTIMATED,
        s=32,
    )
    _scatter(axes, points.searched, scale, "search: drop and latency measured", marker="o", color=_MEASURED, s=32)
    if points.front:
        kind = "measured" if points.front_is_measured else "latency estimated"
        color = _MEASURED if points.front_is_measured else _ESTIMATED
        xs, ys = _coordinates(points.front, scale)
        axes.step(xs, ys, where="pre", color=color, linewidth=1.6, label=f"front of the search part ({kind})")
    _finalists(axes, points.verified, scale, "verified (95 % intervals)", color=_VERIFIED)
    label = "finalists: latency estimated, not verified (90 %)"
    _finalists(axes, points.unverified, scale, label, color=_ESTIMATED, markerfacecolor="none")
    number = (summary.get("best") or {}).get("trial")
    chosen = [p for p in (*points.verified, *points.unverified) if p.candidate.trial == number]
    _scatter(
        axes, chosen, scale, "best: emitted", marker="o", facecolors="none", edgecolors=_BEST, s=260, linewidths=2.4
    )
    axes.scatter([1.0], [0.0], marker="*", color=_INK, s=130, label="baseline", zorder=4)


def _finalists(axes: Axes, points: Sequence[Point], scale: Scale, label: str, **style: Any) -> None:
    if points:
        xs, ys = _coordinates(points, scale)
        x_bars, y_bars = _bars(points, scale)
        axes.errorbar(
            xs, ys, xerr=x_bars, yerr=y_bars, fmt="D", markersize=7, capsize=3, label=label, zorder=4, **style
        )


def _scatter(axes: Axes, points: Sequence[Point], scale: Scale, label: str, **style: Any) -> None:
    if points:
        xs, ys = _coordinates(points, scale)
        axes.scatter(xs, ys, label=label, zorder=3, **style)


def _coordinates(points: Sequence[Point], scale: Scale) -> tuple[list[float], list[float]]:
    ys = [-p.drop * scale.factor for p in points]
    return [p.speedup for p in points], [y if math.isfinite(y) else math.nan for y in ys]


def _bars(points: Sequence[Point], scale: Scale) -> tuple[list[list[float]], list[list[float]]]:
    """Distances below and above each point, for speedup and for the turned drop."""
    x_below, x_above, y_below, y_above = [], [], [], []
    for point in points:
        low, high = bounds(point.speedup_interval)
        x_below.append(0.0 if low is None else max(0.0, point.speedup - low))
        x_above.append(0.0 if high is None else max(0.0, high - point.speedup))
        low, high = bounds(point.drop_interval)
        y_below.append(0.0 if high is None else max(0.0, high - point.drop) * scale.factor)
        y_above.append(0.0 if low is None else max(0.0, point.drop - low) * scale.factor)
    return [x_below, x_above], [y_below, y_above]


def _limits(axes: Axes, summary: Mapping[str, Any], scale: Scale) -> None:
    target, limit = target_speedup(summary), summary.get("max_accuracy_drop")
    style: dict[str, Any] = {"color": _LIMIT, "linestyle": "--", "linewidth": 1.2, "zorder": 1}
    if target is not None:
        axes.axvline(target, label=f"target {times(target)}", **style)
    if limit is not None:
        axes.axhline(-limit * scale.factor, **style)
        axes.annotate(
            f"budget {scale.drop(-limit)}",
            (0.0, -limit * scale.factor),
            xycoords=("axes fraction", "data"),
            xytext=(4, -4),
            textcoords="offset points",
            ha="left",
            va="top",
            color=_LIMIT,
            fontsize=9,
        )


def _frame(axes: Axes, points: Points, summary: Mapping[str, Any], scale: Scale) -> None:
    drops = drop_window(points, summary)
    axes.set_xlim(*speedup_window(points, summary))
    axes.set_ylim(-drops[1] * scale.factor, -drops[0] * scale.factor)
    axes.set_xlabel("speedup (baseline latency / latency)")
    axes.set_ylabel(f"change of accuracy ({scale.drop_unit})" if scale.drop_unit else "change of accuracy")
    axes.grid(color="#e6e9ee", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8.5, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.11), ncols=2)


def _plain(text: str) -> str:
    # Dollar signs would start mathematics.
    return text.replace("$", r"\$")
