"""How long a candidate takes to build once statistics are there: ranges, integer weights, Q/DQ graph, serialization.

    python benchmarks/build_speed.py --model model.onnx --data calibration.npz [--limit-ms 150] [--output out.json]

The data file holds one array per model input, ready to feed.  Processor time of this thread, so that a busy machine
does not inflate it.  *First* builds of a scheme quantize every weight and find every range; *again* is what a search
does, another precision of some units under a scheme it has seen.  Ends with 1 when the median of first builds is over
the limit.
"""

from __future__ import annotations

import argparse
import json
import statistics as summary
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from calibration_speed import ArraySource

from autocompress.calibration.collect import collect
from autocompress.calibration.outputs import ActivationSessions
from autocompress.calibration.statistics import Statistics
from autocompress.graph.model import fingerprint, load_model, model_bytes
from autocompress.graph.specs import input_specs
from autocompress.passes.quantize import FP32, QuantizeConfig
from autocompress.recipe.builder import CandidateBuilder, prepare
from autocompress.recipe.recipe import Recipe
from autocompress.runtimes import get_runtime
from autocompress.runtimes.protocol import SessionOptions

SCHEMES = {
    "min-max": QuantizeConfig(bias_correction=False),
    "percentile, bias correction": QuantizeConfig(activation_range="percentile"),
    "mse of activations and weights": QuantizeConfig(activation_range="mse", weight_range="mse"),
    "kl, signed activations": QuantizeConfig(activation_dtype="int8", activation_range="kl"),
    "per tensor": QuantizeConfig(weight_granularity="per_tensor"),
    "dynamic": QuantizeConfig(precision="int8_dynamic"),
}
PARTS = ("ranges_and_biases_ms", "graph_ms", "serialize_ms")


def build(builder: CandidateBuilder, config: QuantizeConfig, found: Statistics) -> dict[str, float]:
    """Processor milliseconds of each part of one build, and their sum."""
    marks = [time.thread_time()]
    frozen = builder.freeze(Recipe(config), found)
    marks.append(time.thread_time())
    model = builder.build(frozen)
    marks.append(time.thread_time())
    model_bytes(model)
    marks.append(time.thread_time())
    parts = dict(zip(PARTS, (np.diff(marks) * 1e3).tolist(), strict=True))
    return {**parts, "total_ms": sum(parts.values())}


def measure(builder: CandidateBuilder, found: Statistics, repeats: int) -> dict[str, Any]:
    """First and further builds of every scheme, on a builder that starts without any of them."""
    result: dict[str, Any] = {}
    units = [unit.name for unit in builder.quantizer.units]
    for name, config in SCHEMES.items():
        first = build(builder, config, found)
        again = [build(builder, _some_in_float(config, units, i), found) for i in range(repeats)]
        result[name] = {"first": first, "again": {key: summary.median(row[key] for row in again) for key in first}}
    return result


def _some_in_float(config: QuantizeConfig, units: Sequence[str], seed: int) -> QuantizeConfig:
    chosen = np.random.default_rng(seed).random(len(units)) < 0.2
    return config.with_precisions({name: FP32 for name, left in zip(units, chosen, strict=True) if left})


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns 1 when the limit is exceeded."""
    options = _parse(arguments)
    start = time.thread_time()
    original = load_model(options.model)
    prepared = prepare(original)
    prepare_s = time.thread_time() - start
    start = time.thread_time()
    builder = CandidateBuilder(prepared, "onnxruntime", fingerprint(original))
    units_s = time.thread_time() - start
    found = _calibrated(builder, options)
    schemes = measure(builder, found, options.repeats)
    median_first_ms = summary.median(scheme["first"]["total_ms"] for scheme in schemes.values())
    document = {
        "model": options.model.name,
        "units": len(builder.quantizer.units),
        "prepare_once_ms": round(prepare_s * 1e3, 1),
        "find_units_once_ms": round(units_s * 1e3, 1),
        "schemes": {name: _rounded(scheme) for name, scheme in schemes.items()},
        "median_first_ms": round(median_first_ms, 1),
        "median_again_ms": round(summary.median(s["again"]["total_ms"] for s in schemes.values()), 1),
        "limit_ms": options.limit_ms,
    }
    text = json.dumps(document, indent=1)
    print(text)
    if options.output is not None:
        options.output.write_text(text + "\n", encoding="utf-8")
    return 1 if options.limit_ms is not None and median_first_ms > options.limit_ms else 0


def _rounded(scheme: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    return {when: {part: round(value, 2) for part, value in row.items()} for when, row in scheme.items()}


def _calibrated(builder: CandidateBuilder, options: argparse.Namespace) -> Statistics:
    runtime = get_runtime("onnxruntime")
    sessions = ActivationSessions(
        builder.prepared, lambda model: runtime.load(model_bytes(model), SessionOptions(threads=1))
    )
    inputs = {spec.name for spec in input_specs(builder.prepared)}
    with np.load(options.data, allow_pickle=False) as archive:
        arrays = {name: archive[name][: options.samples] for name in archive.files if name in inputs}
    samples = range(min(len(array) for array in arrays.values()))
    return collect(sessions, ArraySource(arrays), samples, builder.quantizer.tensors)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--samples", type=int, default=16, help="calibration samples; they do not change the times")
    parser.add_argument("--repeats", type=int, default=10, help="further builds of each scheme")
    parser.add_argument("--limit-ms", type=float, help="end with 1 when first builds take more, as a median")
    parser.add_argument("--output", type=Path, help="also write the JSON document here")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
