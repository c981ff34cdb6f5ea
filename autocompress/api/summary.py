"""The document that ``summary.json`` holds: the report's summary of the study and what only the run itself knows."""

from __future__ import annotations

from typing import Any

from autocompress.api.opening import OpenRun
from autocompress.report.summary import build_summary, validate_summary
from autocompress.report.wording import metric_unit
from autocompress.search.anchors import anchors_of
from autocompress.search.verify import Outcome

FORMAT_VERSION = 1


def make_summary(run: OpenRun, outcome: Outcome) -> dict[str, Any]:
    """What a run found, JSON-ready; the study's rows must have been written."""
    state, config = run.state, run.request.config
    measured = state.baseline
    unit = metric_unit(_metric(run))
    if measured is not None and measured.is_fraction:
        unit = "fraction"
    summary = build_summary(
        run.store.load(run.name),
        best=None if outcome.best is None else outcome.best.number,
        model=str(config.output / "best.onnx"),
        recipe=str(config.output / "recipe.json"),
        target_met=outcome.target_met,
        target_met_by_estimate=outcome.by_estimate,
        seconds={"total": state.stopwatch.elapsed_s, **state.stopwatch.seconds},
        unit=unit,
        higher_is_better=measured is None or measured.higher_is_better,
        split={
            "calibration": len(run.split.calibration),
            "search": len(run.split.search),
            "verification": len(run.split.verification),
        },
        notices=state.notices,
        command=run.command,
    )
    summary["format"] = FORMAT_VERSION
    summary["metric"] = _metric(run)
    summary["metric_description"] = summary["metric"] if measured is None else measured.metric
    summary["storage"] = str(run.store.location)
    summary["target_speedup"] = _target_speedup(run)
    summary["target_latency_ms"] = config.target_latency_ms
    summary["verify_command"] = config.verify_command
    summary["deterministic"] = config.deterministic
    summary["search_space"] = state.settings.space.name
    summary["status"] = "interrupted" if state.interrupted else "complete"
    summary["stop_reason"] = summary["reason"] = outcome.reason
    summary["seconds"]["first_met"] = None if outcome.by_estimate else state.first_met_s
    summary["best"]["unchanged"] = outcome.best is None
    summary["trials"]["screened"] = state.screened_count
    summary["trials"]["verified"] = len(state.verified)
    summary["estimator"] |= {
        "n_verified": len(state.verified),
        "anchors": len(anchors_of(state)),
        "table": run.latency.table_name,
    }
    validate_summary(summary)
    return summary


def _metric(run: OpenRun) -> str:
    if run.state.baseline is not None:
        return run.state.baseline.search.metric
    return str(run.request.config.metric or "automatic")


def _target_speedup(run: OpenRun) -> float | None:
    if run.request.config.target_speedup is not None or run.state.budget is None:
        return run.request.config.target_speedup
    return run.state.budget.speedup
