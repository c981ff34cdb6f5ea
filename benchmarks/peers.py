"""Plain static quantization by ONNX Runtime's own tool on the same models, scored in the same way, for comparison.

    python benchmarks/peers.py --evalset FOLDER [--models mobilenetv2] [--output peers.json]

Every method: unsigned activations, signed weights, per channel where the opset has it, Q/DQ nodes, everything
quantized, as the tool does it when nothing more is asked of it.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import onnx
from evalset_inputs import Arrays, UserInputs, feeds, model_names, prepare
from independent_check import Scored, paired_drop, plain_session, score, time_both
from results import print_table, provenance, write_json

METHODS = {"minmax": "MinMax", "percentile": "Percentile"}
FIRST_OPSET_WITH_CHANNEL_SCALES = 13
COLUMNS = (
    ("model", "name", "{}"),
    ("method", "method", "{}"),
    ("per channel", "per_channel", "{}"),
    ("speedup", "independent.timing.speedup", "{:.2f}x"),
    ("baseline", "independent.accuracy.baseline", "{:.4f}"),
    ("drop", "independent.accuracy.drop", "{:+.4f}"),
    ("size ratio", "independent.size_ratio", "{:.2f}"),
    ("build s", "seconds", "{:.1f}"),
)


def main(arguments: list[str] | None = None) -> int:
    """Runs the comparison; returns 0 when every method gave a model."""
    options = _parse(arguments)
    overrides = dict(pair.split("=", 1) for pair in options.model_path)
    names = options.models.split(",") if options.models else model_names(options.evalset, set(overrides))
    results: list[dict[str, Any]] = []
    document = {**provenance("peers"), "calibration_samples": options.samples, "results": results}
    for name in names:
        with tempfile.TemporaryDirectory(prefix=f"peers-{name}-", dir=options.work) as folder:
            model = Path(overrides[name]) if name in overrides else None
            inputs = prepare(options.evalset / name, Path(folder), model=model)
            baseline = score(inputs.model, inputs)
            for method in options.methods.split(","):
                print(f"{name}: {method}", file=sys.stderr, flush=True)
                results.append(_one(inputs, baseline, method, Path(folder), options))
                write_json(options.output, document)
    print_table(COLUMNS, results)
    return 1 if any(r["problem"] for r in results) else 0


def _one(
    inputs: UserInputs, baseline: Scored, method: str, folder: Path, options: argparse.Namespace
) -> dict[str, Any]:
    per_channel = _opset(inputs.model) >= FIRST_OPSET_WITH_CHANNEL_SCALES
    result: dict[str, Any] = {"name": inputs.name, "method": method, "per_channel": per_channel, "problem": None}
    target = folder / f"{method}.onnx"
    started = time.perf_counter()
    try:
        quantize(inputs, target, method, options.samples, per_channel)
        result["seconds"] = round(time.perf_counter() - started, 2)
        result["independent"] = {
            "timing": time_both(inputs.model, target, inputs, options.timing_seconds),
            "accuracy": paired_drop(baseline, score(target, inputs)),
            "size_ratio": inputs.model.stat().st_size / target.stat().st_size,
        }
    except Exception as error:  # a tool that fails on a model is a result of the comparison, told in the table
        result["problem"] = f"{method}: {type(error).__name__}: {error}"
    return result


def quantize(inputs: UserInputs, target: Path, method: str, samples: int, per_channel: bool) -> None:
    """Writes the model quantized with ranges from the first ``samples`` samples of the calibration data."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    with contextlib.redirect_stdout(sys.stderr):  # it prints its progress
        quantize_static(
            str(inputs.model),
            str(target),
            _Reader(inputs, samples),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=per_channel,
            calibrate_method=getattr(CalibrationMethod, METHODS[method]),
        )


class _Reader:
    """Calibration samples one at a time, as the tool asks for them."""

    def __init__(self, inputs: UserInputs, samples: int) -> None:
        names = [i.name for i in plain_session(inputs.model, 1).get_inputs()]
        arrays = feeds(inputs, inputs.calibration, names)
        count = min(samples, len(arrays[names[0]]))
        self._left = iter({name: array[i : i + 1] for name, array in arrays.items()} for i in range(count))

    def get_next(self) -> Arrays | None:
        return next(self._left, None)


def _opset(model: Path) -> int:
    opsets = onnx.load(str(model), load_external_data=False).opset_import
    return max(int(o.version) for o in opsets if o.domain in ("", "ai.onnx"))


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evalset", type=Path, required=True, help="folder of folders: model, data, meta.json")
    parser.add_argument("--models", default="", help="comma-separated folder names (default: all)")
    parser.add_argument("--model-path", action="append", default=[], metavar="NAME=FILE", help="ONNX file kept apart")
    parser.add_argument("--methods", default=",".join(METHODS), help=f"of {', '.join(METHODS)}")
    parser.add_argument("--samples", type=int, default=64, help="calibration samples")
    parser.add_argument("--timing-seconds", type=float, default=10.0)
    parser.add_argument("--work", type=Path, help="folder for intermediate files (default: the system's)")
    parser.add_argument("--output", type=Path, default=Path("peers.json"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
