"""The main job on real models, as a user runs it, and a second opinion on what it claims.

    python benchmarks/end_to_end.py --evalset FOLDER [--models mobilenetv2,yolox_nano] [--output results.json]

``--goals structural_goals.yaml -- --search-space combined --recovery light`` asks of each model what stands there.

For every model: prepares what a user would bring, runs ``autocompress run ... --json``, then times and scores the
emitted ``best.onnx`` against the original with plain ONNX Runtime.  Prints a table; the JSON holds everything.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from evalset_inputs import UserInputs, model_names, prepare, usual_samples
from goals import Goal, read_goals
from independent_check import Answers, paired_drop, time_both
from results import print_table, provenance, write_json
from watched_process import Finished, run_watched

HERE = Path(__file__).resolve().parent
COLUMNS = (
    ("model", "name", "{}"),
    ("exit", "run.exit_code", "{}"),
    ("asked for", "asked", "{}"),
    ("met", "claimed.target_met", "{}"),
    ("speedup claimed", "claimed.speedup", "{:.2f}x"),
    ("independent", "independent.timing.speedup", "{:.2f}x"),
    ("baseline", "independent.accuracy.baseline", "{:.4f}"),
    ("drop claimed", "claimed.accuracy_drop", "{:+.4f}"),
    ("independent", "independent.accuracy.drop", "{:+.4f}"),
    ("verif. part", "independent.accuracy_verification.drop", "{:+.4f}"),
    ("seconds", "run.seconds", "{:.0f}"),
    ("first met s", "claimed.first_met_s", "{:.0f}"),
    ("peak MB", "run.peak_rss_megabytes", "{:.0f}"),
)


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmark; returns 0 when every run ended with exit code 0 (target met) or 3 (not reachable)."""
    options = _parse(arguments)
    overrides = dict(pair.split("=", 1) for pair in options.model_path)
    goals = {} if options.goals is None else read_goals(options.goals)
    known = [name for name in model_names(options.evalset, set(overrides)) if not goals or name in goals]
    names = options.models.split(",") if options.models else known
    if not names:
        raise SystemExit(f"{options.goals} has a goal for none of the models in {options.evalset}")
    results: list[dict[str, Any]] = []
    document = {
        **provenance("end_to_end"),
        "target_speedup": options.target_speedup,
        "timeout_s": options.timeout,
        "seed": options.seed,
        "results": results,
    }
    for name in names:
        with tempfile.TemporaryDirectory(prefix=f"autocompress-{name}-", dir=options.work) as folder:
            model = Path(overrides[name]).resolve() if name in overrides else None
            source = options.evalset / name
            samples = usual_samples(source) if options.samples is None else options.samples
            brought = prepare(source, Path(folder), model=model, n=samples)
            goal = goals.get(name) or _usual_goal(brought, options)
            print(f"{name}: {brought.metric}, target {_target(goal)}", file=sys.stderr, flush=True)
            results.append(_one(brought, goal, Path(folder), options))
        write_json(options.output, document)
    print_table(COLUMNS, results)
    return 0 if all(r["run"]["exit_code"] in (0, 3) for r in results) else 1


def _one(inputs: UserInputs, goal: Goal, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    output = folder / "out"
    command = _command(inputs, goal, output, options)
    done = run_watched(command, folder, options.timeout * 2 + 120, _environment())
    summary, problem = _summary(done)
    result: dict[str, Any] = {
        "name": inputs.name,
        "task": inputs.task,
        "metric": inputs.metric,
        "asked": f"{_target(goal)}, {goal.max_accuracy_drop:g}",
        "max_accuracy_drop": goal.max_accuracy_drop,
        "published": dict(inputs.published),
        "run": _run_record(done, command, folder),
        "claimed": _claims(summary),
        "summary": summary,
        "problem": problem,
    }
    best = output / "best.onnx"
    if best.is_file():
        # Judged on every sample that there is, also when the run was given fewer: these are the leading ones of all.
        everything = prepare(options.evalset / inputs.name, folder / "everything", model=inputs.model)
        result["independent"] = _second_opinion(everything, best, output, options)
    return result


def _command(inputs: UserInputs, goal: Goal, output: Path, options: argparse.Namespace) -> list[str]:
    command = [options.autocompress, "run", str(inputs.model), "--data", str(inputs.data), "--metric", inputs.metric]
    command += ["--calibration-data", str(inputs.calibration)]
    if inputs.preprocess is not None:
        command += ["--preprocess", str(inputs.preprocess)]
    if goal.speedup is not None:
        command += ["--target-speedup", _target(goal)]
    command += ["--max-accuracy-drop", str(goal.max_accuracy_drop), "--timeout", f"{options.timeout:g}s"]
    command += ["--seed", str(options.seed), "--output", str(output), "--storage", str(output.parent / "study.db")]
    return [*command, "--json", *options.extra]


def _usual_goal(inputs: UserInputs, options: argparse.Namespace) -> Goal:
    """What the options ask of every model."""
    drop = inputs.max_accuracy_drop if options.max_accuracy_drop is None else float(options.max_accuracy_drop)
    return Goal(drop, None if options.target_speedup == "none" else float(options.target_speedup.rstrip("x")))


def _target(goal: Goal) -> str:
    return "none" if goal.speedup is None else f"{goal.speedup:g}x"


def _environment() -> dict[str, str]:
    """As it is, with the folder of the metric functions importable."""
    paths = [str(HERE), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in paths if p)}


def _summary(done: Finished) -> tuple[dict[str, Any], str | None]:
    """The one JSON document on standard output, or what is wrong with it."""
    last_line = (done.stderr.strip().splitlines() or ["nothing on standard error"])[-1]
    if done.stopped:
        return {}, f"it ran over twice its time and was ended: {last_line}"
    try:
        summary = json.loads(done.stdout)
    except json.JSONDecodeError as error:
        return {}, f"standard output is not one JSON document ({error}): {last_line}"
    return (summary, None) if isinstance(summary, dict) else ({}, "standard output is no JSON object")


def _run_record(done: Finished, command: list[str], folder: Path) -> dict[str, Any]:
    return {
        "command": [part.replace(str(folder), "WORK") for part in command[1:]],
        "exit_code": done.exit_code,
        "seconds": round(done.seconds, 2),
        "peak_rss_megabytes": round(done.peak_rss_bytes / 1e6, 1),
        "peak_process_rss_megabytes": round(done.peak_process_rss_bytes / 1e6, 1),
        "stderr_tail": done.stderr.splitlines()[-15:],
    }


def _claims(summary: dict[str, Any]) -> dict[str, Any]:
    best, seconds = summary.get("best") or {}, summary.get("seconds") or {}
    names = ("speedup", "speedup_ci95", "accuracy", "accuracy_drop", "accuracy_drop_ci95", "n", "latency_ms")
    claims = {name: best.get(name) for name in names}
    return {**claims, "target_met": summary.get("target_met"), "first_met_s": seconds.get("first_met")}


def _second_opinion(inputs: UserInputs, best: Path, output: Path, options: argparse.Namespace) -> dict[str, Any]:
    original, emitted = Answers(inputs.model, inputs), Answers(best, inputs)
    opinion: dict[str, Any] = {
        "timing": time_both(inputs.model, best, inputs, options.timing_seconds),
        "accuracy": paired_drop(original.score(), emitted.score()),
        "size_ratio": inputs.model.stat().st_size / best.stat().st_size,
    }
    part = _verification_part(output)
    if part is not None:
        opinion["accuracy_verification"] = paired_drop(original.score(part), emitted.score(part))
    return opinion


def _verification_part(output: Path) -> npt.NDArray[np.int64] | None:
    """Indices of the samples that the run verified on, where its results name them."""
    file = output / "split.json"
    return np.array(json.loads(file.read_text())["verification"], np.int64) if file.is_file() else None


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evalset", type=Path, required=True, help="folder of folders: model, data, meta.json")
    parser.add_argument("--models", default="", help="comma-separated folder names (default: all)")
    parser.add_argument("--model-path", action="append", default=[], metavar="NAME=FILE", help="ONNX file kept apart")
    parser.add_argument("--output", type=Path, default=Path("end_to_end.json"))
    parser.add_argument("--target-speedup", default="2x", help="as the command takes it, or 'none'")
    parser.add_argument("--goals", type=Path, help="YAML of model: {speedup, max_accuracy_drop}; only these run")
    parser.add_argument("--max-accuracy-drop", help="for all models (default: 0.01; 0.1 for decibels)")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds that each run may take")
    parser.add_argument("--samples", type=int, help="that a run is given (default: all; 1000 sentences); all judge it")
    parser.add_argument("--timing-seconds", type=float, default=15.0, help="of the independent timing")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--autocompress", default=str(Path(sys.executable).with_name("autocompress")))
    parser.add_argument("--work", type=Path, help="folder for intermediate files (default: the system's)")
    parser.add_argument("extra", nargs="*", help="further options for 'autocompress run', after --")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
