"""Post-training quantization side by side: our recipes and our search beside other tools, on the same samples.

    python benchmarks/ptq_accuracy.py --evalset FOLDER [--models mobilenetv2] [--tools ours,onnxruntime,nncf,aimet]
        [--peer-python PYTHON] [--json out.json] [--markdown out.md]

Every tool gets the same calibration samples; every model is scored and timed by plain ONNX Runtime (see README.md).
A tool that is not installed is listed as such.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from evalset_inputs import model_names, prepare
from goals import goal_for, read_goals
from ptq_methods.case import Case, Method, NotInstalled, make_case
from ptq_methods.judging import Judge
from ptq_methods.listing import METHODS, TOOLS
from ptq_methods.table import COLUMNS, markdown, shown_intervals
from results import print_table, provenance, write_json

GOALS = Path(__file__).with_name("ptq_goals.yaml")


def main(arguments: list[str] | None = None) -> int:
    """Runs the comparison; returns 0 when every method that is installed gave a model."""
    options = _parse(arguments)
    overrides = dict(pair.split("=", 1) for pair in options.model_path)
    names = options.models.split(",") if options.models else model_names(options.evalset, set(overrides))
    results: list[dict[str, Any]] = []
    document = {**provenance("ptq_accuracy"), "calibration_samples": options.samples, "results": results}
    for name in names:
        with tempfile.TemporaryDirectory(prefix=f"ptq-{name}-", dir=options.work) as folder:
            model = Path(overrides[name]).resolve() if name in overrides else None
            case = _case(name, model, Path(folder), options)
            judge = Judge(case, threads=options.threads, timing_s=options.timing_seconds)
            for method in _methods(case, options):
                print(f"{name}: {method.tool}, {method.name}", file=sys.stderr, flush=True)
                results.append(_row(method, case, judge))
                write_json(options.json, document)
    if options.markdown is not None:
        options.markdown.write_text(markdown(document), encoding="utf-8")
    print_table(COLUMNS, results)
    return 1 if any(row["problem"] and row["installed"] for row in results) else 0


def _case(name: str, model: Path | None, folder: Path, options: argparse.Namespace) -> Case:
    source = options.evalset / name
    usual_drop = prepare(source, folder / "goal", model=model, n=2).max_accuracy_drop
    return make_case(
        source,
        folder,
        goal_for(name, read_goals(GOALS), usual_drop),
        model=model,
        calibration_samples=options.samples,
        samples=options.judged,
        limit_s=options.limit,
        peer_python=options.peer_python,
        autocompress=options.autocompress,
    )


def _methods(case: Case, options: argparse.Namespace) -> list[Method]:
    tools = options.tools.split(",")
    return [
        method
        for method in METHODS
        if method.tool in tools
        and (method.tasks is None or case.judged.task in method.tasks)
        and any(fnmatchcase(method.name, pattern) for pattern in options.methods.split(","))
    ]


def _row(method: Method, case: Case, judge: Judge) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": case.judged.name,
        "tool": method.tool,
        "method": method.name,
        "metric": case.judged.metric,
        "goal": asdict(case.goal),
        "samples": {"all": int(case.held[-1]) + 1, "held": len(case.held)},
        "published": dict(case.judged.published),
        "problem": None,
        "installed": True,
    }
    target = case.work / "candidate.onnx"
    try:
        built = method.build(case, target)
        judged = judge.verdict(target)
    except NotInstalled as error:
        return {**row, "installed": False, "problem": f"{method.tool}, {method.name}: {error}"}
    except Exception as error:  # a tool that fails on a model is a result of the comparison, told in the table
        return {**row, "problem": f"{method.tool}, {method.name}: {type(error).__name__}: {error}"}
    finally:
        target.unlink(missing_ok=True)
    shown = shown_intervals(judged)
    return {**row, **asdict(built), "judged": judged, "shown": shown, "goal_met": _goal_met(case, judged)}


def _goal_met(case: Case, judged: dict[str, Any]) -> str:
    """Whether the drop on held samples and the speedup reach the goal, as point estimates."""
    accurate = judged["accuracy_held"]["drop"] <= case.goal.max_accuracy_drop
    fast = case.goal.speedup is None or judged["timing"]["speedup"] >= case.goal.speedup
    return "met" if accurate and fast else "; ".join([*([] if accurate else ["drop"]), *([] if fast else ["speed"])])


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evalset", type=Path, required=True, help="folder of folders: model, data, meta.json")
    parser.add_argument("--models", default="", help="comma-separated folder names (default: all)")
    parser.add_argument("--model-path", action="append", default=[], metavar="NAME=FILE", help="ONNX file kept apart")
    parser.add_argument("--tools", default=",".join(TOOLS), help=f"of {', '.join(TOOLS)}")
    parser.add_argument("--methods", default="*", help="patterns of names, such as 'min-max,*AdaRound*'")
    parser.add_argument("--samples", type=int, default=64, help="calibration samples")
    parser.add_argument("--judged", type=int, help="leading samples that judge (default: all; 1000 sentences)")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds that one method may take")
    parser.add_argument("--timing-seconds", type=float, default=5.0)
    parser.add_argument("--threads", type=int, default=2, help="of the runtime while it answers; timing has one")
    parser.add_argument("--peer-python", type=Path, help="Python that has NNCF and AIMET-ONNX (default: this one)")
    parser.add_argument("--autocompress", default=str(Path(sys.executable).with_name("autocompress")))
    parser.add_argument("--work", type=Path, help="folder for intermediate files (default: the system's)")
    parser.add_argument("--json", type=Path, default=Path("ptq_accuracy.json"))
    parser.add_argument("--markdown", type=Path)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
