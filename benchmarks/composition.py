"""Compares latency estimates of whole models with what the models take.

    python benchmarks/composition.py MODEL.onnx [MODEL2.onnx ...] [--shape NAME:1x3x224x224] [--output result.json]

Each model is priced before it is timed, in three ways: from the table and the forests that ship (``shipped``), from
forests alone (``forest_only``; they have seen the operators that the table has, so this is out of sample only for the
share that ``coverage`` of ``shipped`` leaves), and after its missing operators were timed on the spot (``profiled``).
k = 0: nothing is anchored on a measurement of the model.  Each model is then timed in turn with
itself, which gives the noise floor beside each score.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from results import provenance, write_json

from autocompress.latency.estimator import LatencyEstimator
from autocompress.latency.opening import LatencySource, open_latency
from autocompress.measurement import EstimatedLatency, MeasuredSpeedup
from autocompress.runtimes import get_runtime
from autocompress.runtimes.protocol import ExecutedOp, Feeds, Runtime, SessionOptions
from autocompress.runtimes.timing import measure_interleaved


def main(arguments: list[str] | None = None) -> None:
    """Reads the arguments, prices, times, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=4.0, help="timing per model")
    parser.add_argument("--shape", action="append", default=[], help="NAME:1x3x224x224 for dynamic inputs")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    options = parser.parse_args(arguments)
    # Operators timed here go to a table of their own, so that every run of the benchmark starts alike.
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AUTOCOMPRESS_CACHE"] = folder
        runtime = get_runtime(options.runtime)
        source = open_latency(runtime, threads=options.threads)
        shapes = dict(_shape(text) for text in options.shape)
        rows = [_row(runtime, source, path, shapes, options) for path in options.models]
    document = {**provenance("composition"), "notices": list(source.notices), "models": rows, "summary": _summary(rows)}
    if options.output:
        write_json(options.output, document)
    print(json.dumps(document, indent=2))


def _row(
    runtime: Runtime, source: LatencySource, path: str, shapes: Mapping[str, tuple[int, ...]], options: Any
) -> dict[str, Any]:
    load = SessionOptions(threads=options.threads)
    a, b = runtime.load(path, load), runtime.load(path, load)
    feeds = _feeds(a.inputs, shapes)
    ops = runtime.executed_ops(path, feeds, threads=options.threads)
    estimates = {
        "shipped": source.estimator().estimate(ops),
        "forest_only": LatencyEstimator(None, source.predictors).estimate(ops),
        "profiled": _profiled(source, path, feeds, ops),
    }
    measured = measure_interleaved(a, b, feeds, budget_s=options.seconds)
    return {
        "model": Path(path).name,
        "nodes": len(ops),
        "distinct_operators": len({op.signature.key for op in ops}),
        "measured_ms": _digits(measured.a.latency_ms),
        "fastest_ms": _digits(min(measured.a.minimum_ms, measured.b.minimum_ms)),
        "noise_floor": _noise(measured),
        "estimates": {name: _scored(estimate, measured) for name, estimate in estimates.items()},
    }


def _profiled(source: LatencySource, path: str, feeds: Feeds, ops: Sequence[ExecutedOp]) -> EstimatedLatency:
    source.profile(path, feeds)
    return source.estimator().estimate(ops)


def _scored(estimate: EstimatedLatency, measured: MeasuredSpeedup) -> dict[str, Any]:
    truth = (measured.a.latency_ms + measured.b.latency_ms) / 2
    interval = estimate.interval90_ms
    return {
        "latency_ms": _digits(estimate.latency_ms),
        "interval90_ms": [_digits(v) for v in interval.to_list()],
        "coverage": round(estimate.coverage, 3),
        "relative_error": round(estimate.latency_ms / truth - 1, 4),
        "interval_holds": bool(interval.low <= truth <= interval.high),
    }


def _noise(measured: MeasuredSpeedup) -> dict[str, Any]:
    return {"self_speedup": round(measured.speedup, 4), "ci95": [round(v, 4) for v in measured.speedup_ci95.to_list()]}


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    summary = {}
    for name in ("shipped", "forest_only", "profiled"):
        errors = np.abs([row["estimates"][name]["relative_error"] for row in rows])
        summary[name] = {
            "models": len(rows),
            "mape": round(float(errors.mean()), 4),
            "worst": round(float(errors.max()), 4),
            "within_5_percent": round(float((errors <= 0.05).mean()), 3),
            "within_10_percent": round(float((errors <= 0.10).mean()), 3),
            "intervals_hold": round(float(np.mean([r["estimates"][name]["interval_holds"] for r in rows])), 3),
        }
    return summary


def _feeds(specs: Any, shapes: Mapping[str, tuple[int, ...]]) -> Feeds:
    rng = np.random.default_rng(0)
    feeds = {}
    for spec in specs:
        shape = shapes.get(spec.name, tuple(size if isinstance(size, int) else 1 for size in spec.shape))
        if spec.dtype.startswith("int"):
            feeds[spec.name] = np.ones(shape, spec.dtype)
        else:
            feeds[spec.name] = rng.standard_normal(shape).astype(spec.dtype)
    return feeds


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, sizes = text.rpartition(":")
    return name, tuple(int(size) for size in sizes.split("x"))


def _digits(milliseconds: float) -> float:
    return float(f"{milliseconds:.4g}")


if __name__ == "__main__":
    main()
