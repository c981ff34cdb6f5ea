"""What ``autocompress run`` emits with its default space, given half of the labelled samples."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
from pathlib import Path

import autocompress
from ptq_methods.case import Built, Case

BENCHMARKS = Path(__file__).resolve().parents[1]


class SearchFailed(Exception):
    """The command ended without a model."""


def build_by_search(case: Case, target: Path) -> Built:
    """Runs the command towards the goal of the case and copies its ``best.onnx``.

    Raises:
        SearchFailed: when there is none.
    """
    before = _children_cpu_s()
    output = case.work / "search"
    paths = os.pathsep.join(p for p in (str(BENCHMARKS), os.environ.get("PYTHONPATH", "")) if p)
    done = subprocess.run(
        _command(case, output), capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths}, check=False
    )
    best = output / "best.onnx"
    if not best.is_file():
        last = (done.stderr.strip().splitlines() or ["nothing on standard error"])[-1]
        raise SearchFailed(f"exit code {done.returncode}: {last}")
    shutil.copy(best, target)
    notes = [] if done.returncode == 0 else ["the run reports that it could not reach its target"]
    met = json.loads(done.stdout).get("seconds", {}).get("first_met")
    notes += [] if met is None else [f"target first met after {met:.0f} s"]
    return Built(_children_cpu_s() - before, autocompress.__version__, tuple(notes))


def _command(case: Case, output: Path) -> list[str]:
    given, goal = case.given, case.goal
    command = [case.autocompress, "run", str(given.model), "--data", str(given.data), "--metric", given.metric]
    command += ["--calibration-data", str(given.calibration), "--max-accuracy-drop", str(goal.max_accuracy_drop)]
    if given.preprocess is not None:
        command += ["--preprocess", str(given.preprocess)]
    if goal.speedup is not None:
        command += ["--target-speedup", f"{goal.speedup:g}x"]
    command += ["--timeout", f"{case.limit_s:g}s", "--seed", "0", "--threads", "1"]
    return [*command, "--output", str(output), "--storage", str(case.work / "study.db"), "--json"]


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
