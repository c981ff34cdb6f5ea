"""What pruning without recovery costs, and what label-free recovery brings back, in what time and memory.

    python benchmarks/recovery.py FOLDER --ratio 0.375 --levels closed_form light --samples 128 256 512 1500

FOLDER is one of an evaluation set (see the README beside this file).  In every group of coupled channels of at most
three layers (the inner channels of blocks, neurons, attention heads), those with the smallest norms leave the model.
Recovery sees calibration samples, and where more are asked for a third of those of the evaluation, drawn at random and
without labels; scores are of the other two thirds, by plain ONNX Runtime.  Every recovery runs in a process of its own;
its memory is compared with that of a process that only runs the original on the same samples.

Prints JSON: the curve of the score against unlabelled samples, and how three claims came out: the closed form takes
seconds, light recovery at most ten minutes, and memory stays within three times that of plain inference plus the state
of the optimizer.  Libraries alone take much of both, and more for training than for inference; the factor of what the
model and its samples take beyond them stands beside it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from evalset_inputs import Arrays, UserInputs, feeds, prepare, save_arrays
from independent_check import Answers, paired_drop
from recovery_worker import INFERENCE, INFERENCE_LIBRARIES, TRAINING_LIBRARIES
from results import provenance
from watched_process import run_watched

from autocompress.graph.channels import analyse_channels
from autocompress.graph.model import load_model, save_model
from autocompress.passes.prune import PruneConfig, prune, resolve
from autocompress.recipe.builder import prepare as prepare_model

_WORKER = Path(__file__).with_name("recovery_worker.py")
_MOST_LAYERS = 3  # of a group that is pruned; residual streams have more
_LIGHT_LIMIT_S = 600.0
_CLOSED_LIMIT_S = 30.0
_MEMORY_FACTOR = 3.0
_SPLIT_SEED = 0


def main(arguments: list[str] | None = None) -> int:
    """Measures one model and prints the document; returns 0."""
    options = _parse(arguments)
    with tempfile.TemporaryDirectory(prefix="recovery-") as folder:
        inputs = prepare(options.folder, Path(folder), model=options.model_path, n=options.n)
        document = {**provenance("recovery"), **_measure(inputs, Path(folder), options)}
    print(json.dumps(document, indent=2))
    return 0


def _measure(inputs: UserInputs, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    judged = _write_models_and_samples(inputs, folder, options)
    before = Answers(folder / "teacher.onnx", inputs, options.threads).score(judged)
    damaged = Answers(folder / "student.onnx", inputs, options.threads).score(judged)
    most = max(options.samples)
    inference, *libraries = (
        _run(folder, [level, most], options)["peak_bytes"] / 1e6
        for level in (INFERENCE, INFERENCE_LIBRARIES, TRAINING_LIBRARIES)
    )
    curve = []
    for samples in sorted(options.samples):
        for level in options.levels:
            told = _run(folder, [level, samples], options)
            after = Answers(folder / "recovered.onnx", inputs, options.threads).score(judged)
            row = {"level": level, "samples": min(samples, told["samples"]), **paired_drop(before, after), **told}
            curve.append({**row, "peak_megabytes": told["peak_bytes"] / 1e6})
            print(f"{level}, {row['samples']} samples: {after.value:.4f}, {told['seconds']:.0f} s", file=sys.stderr)
    return {
        "model": inputs.name,
        "metric": inputs.metric,
        "threads": options.threads,
        "ratio": options.ratio,
        "original": before.value,
        "pruned": damaged.value,
        "inference_megabytes": inference,
        "libraries_megabytes": dict(zip(("inference", "training"), libraries, strict=True)),
        "curve": curve,
        "claims": _claims(curve, inference, libraries),
    }


def _claims(curve: list[dict[str, Any]], inference_megabytes: float, libraries: list[float]) -> dict[str, Any]:
    """What was promised, with the worst figure of each; None where nothing was measured for it."""
    seconds = {
        level: max((row["seconds"] for row in curve if row["level"] == level), default=None)
        for level in ("closed_form", "light")
    }
    peaks = [row["peak_megabytes"] - row["optimizer_bytes"] / 1e6 for row in curve]
    factors = [peak / inference_megabytes for peak in peaks]
    beyond = [(peak - libraries[1]) / (inference_megabytes - libraries[0]) for peak in peaks]
    limits = {"closed_form": _CLOSED_LIMIT_S, "light": _LIGHT_LIMIT_S}
    return {
        **{f"{level}_seconds": took for level, took in seconds.items()},
        **{f"{level}_in_time": None if took is None else took <= limits[level] for level, took in seconds.items()},
        "memory_factor": max(factors, default=None),
        "memory_factor_beyond_libraries": max(beyond, default=None),
        "memory_within_limit": all(factor <= _MEMORY_FACTOR for factor in factors),
    }


def _write_models_and_samples(inputs: UserInputs, folder: Path, options: argparse.Namespace) -> Any:
    """Writes what workers read and returns the positions of the samples that judge."""
    teacher = prepare_model(load_model(inputs.model))
    names = [value.name for value in teacher.graph.input]
    unlabelled = feeds(inputs, inputs.calibration, names)
    labelled = feeds(inputs, inputs.data, names)
    total = len(next(iter(labelled.values())))
    missing = max(options.samples) - len(next(iter(unlabelled.values())))
    # At random, because sets are often in the order of their classes: the first third may lack most of them.
    order = np.random.default_rng(_SPLIT_SEED).permutation(total)
    seen = order[: min(max(missing, 0), total // 3)]
    alike = all(array.shape[1:] == labelled[name].shape[1:] for name, array in unlabelled.items())
    if len(seen) and alike:
        samples = {name: np.concatenate([array, labelled[name][seen]]) for name, array in unlabelled.items()}
    else:
        samples = unlabelled
    save_arrays(folder / "samples.npz", {name: array[: max(options.samples)] for name, array in samples.items()})
    save_model(teacher, folder / "teacher.onnx")
    save_model(_pruned(teacher, samples, options), folder / "student.onnx")
    return np.sort(order[total // 3 :])


def _pruned(model: Any, samples: Arrays, options: argparse.Namespace) -> Any:
    analysis = analyse_channels(model)
    inner = [group for group in analysis.groups if len(group.layers) <= _MOST_LAYERS]
    config = PruneConfig(tuple((group.name, options.ratio) for group in inner), criterion=options.criterion)
    few = {name: array[:32] for name, array in samples.items()}
    return prune(model, config, resolve(model, config, lambda: iter([few])), analysis)


def _run(folder: Path, what: list[Any], options: argparse.Namespace) -> dict[str, Any]:
    level, samples = what
    command = [sys.executable, str(_WORKER), str(folder), "--level", level, "--samples", str(samples)]
    command += ["--threads", str(options.threads)]
    if options.deadline is not None:
        command += ["--deadline", str(options.deadline)]
    for text in options.set:
        command += ["--set", text]
    done = run_watched(command, folder, options.limit)
    if done.exit_code != 0:
        raise SystemExit(f"{level} with {samples} samples failed: {done.stderr.strip()[-500:]}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model-path", type=Path, help="where the folder has no model.onnx")
    parser.add_argument("--ratio", type=float, default=0.375, help="of the channels of each group that leave")
    parser.add_argument("--criterion", default="l2")
    parser.add_argument("--levels", nargs="+", default=["closed_form", "light"])
    parser.add_argument("--samples", nargs="+", type=int, default=[128, 256, 512, 1500])
    parser.add_argument("--n", type=int, help="leading evaluation samples to use; all unless given")
    parser.add_argument("--deadline", type=float, help="seconds that a training may take; none unless given")
    parser.add_argument("--limit", type=float, default=3600.0, help="seconds after which a worker is ended")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="of RecoverConfig, as JSON")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
