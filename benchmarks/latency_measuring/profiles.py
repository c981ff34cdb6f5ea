"""Baseline "raw profile": what a runtime's own profiler says of one model, node times simply added up."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from autocompress.errors import RuntimeFailure
from autocompress.progress import Progress
from autocompress.runtimes.float_environment import flushed_denormals
from autocompress.runtimes.protocol import Feeds, SessionOptions
from latency_measuring.executed import feeds_of
from latency_measuring.kept import KeptRows
from latency_measuring.settings import Setting
from latency_measuring.truth import TimedModel

_FEWEST_RUNS = 4


class RawProfiles:
    """Profile sums of models.

    Args:
        kept: where they are kept.
        seconds: of running per model.
    """

    def __init__(self, kept: KeptRows, *, seconds: float) -> None:
        self._kept = kept
        self._seconds = seconds
        self._sums = {row["model"]: row["profile_sum_ms"] for row in kept.rows}

    def measure(self, models: list[TimedModel], progress: Progress) -> None:
        """Profiles what has not been profiled yet; models that cannot be get none."""
        todo = [m for m in models if m.identity not in self._sums]
        progress.stage("profile the test set", total=len(todo))
        for model in todo:
            try:
                found = profile_sum_ms(model.setting, model.path, feeds_of(model.path), self._seconds)
            except RuntimeFailure:
                found = None
            self._sums[model.identity] = found
            self._kept.append({"model": model.identity, "profile_sum_ms": found})
            progress.advance()

    def sum_ms(self, model: TimedModel) -> float | None:
        """Sum of the node times of one run; None where the runtime has no profiler or failed."""
        return self._sums.get(model.identity)


def profile_sum_ms(setting: Setting, model: Path, feeds: Feeds, seconds: float) -> float | None:
    """Runs a model under the runtime's profiler and adds up its nodes.

    Returns:
        Milliseconds; None for a runtime without a profiler.

    Raises:
        RuntimeFailure: when the runtime refuses the model or fails.
    """
    profiler = _PROFILERS.get(setting.runtime.name)
    return None if profiler is None else profiler(model, feeds, setting.threads, seconds)


def _openvino_sum_ms(model: Path, feeds: Feeds, threads: int, seconds: float) -> float:
    """Median over runs of the sum of node times, the first run left out."""
    import openvino

    settings = {"PERF_COUNT": True, "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1,
                "INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": False}  # fmt: skip
    try:
        request = openvino.Core().compile_model(str(model), "CPU", settings).create_infer_request()
        sums, end = [], time.perf_counter() + seconds
        with flushed_denormals():
            while len(sums) < _FEWEST_RUNS or time.perf_counter() < end:
                request.infer(dict(feeds), share_inputs=True)
                sums.append(sum(node.real_time.total_seconds() for node in request.profiling_info) * 1e3)
    except RuntimeError as error:  # what the bindings raise
        raise RuntimeFailure(f"openvino cannot profile {model.name}: {error}") from error
    return float(np.median(sums[1:]))


def _onnxruntime_sum_ms(model: Path, feeds: Feeds, threads: int, seconds: float) -> float:
    """Median over runs of the sum of node times, the first run left out."""
    from autocompress.runtimes.onnxruntime_session import native_session

    with tempfile.TemporaryDirectory() as folder:

        def adjust(native: Any) -> None:
            native.enable_profiling = True
            native.profile_file_prefix = str(Path(folder) / "profile")

        session = native_session(str(model), SessionOptions(threads=threads), adjust=adjust)
        runs, end = 0, time.perf_counter() + seconds
        with flushed_denormals():
            while runs < _FEWEST_RUNS or time.perf_counter() < end:
                session.run(None, dict(feeds))
                runs += 1
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return float(np.median(_sums_by_run(events, runs)[1:])) / 1e3


def _sums_by_run(events: list[dict[str, Any]], runs: int) -> list[float]:
    """Microseconds of all nodes in each run; every node appears once per run, in order."""
    nodes = [e for e in events if e.get("cat") == "Node" and str(e.get("name", "")).endswith("_kernel_time")]
    per_run = len(nodes) // runs
    return [float(sum(e["dur"] for e in nodes[i * per_run : (i + 1) * per_run])) for i in range(runs)]


_PROFILERS: Mapping[str, Callable[[Path, Feeds, int, float], float]] = {
    "onnxruntime": _onnxruntime_sum_ms,
    "openvino": _openvino_sum_ms,
}
