"""What weight rounding by reconstruction gains: accuracy with nearest rounding and with it, time taken, size.

    python benchmarks/reconstruction.py --evalset FOLDER --model mobilenetv2 --method adaround
    python benchmarks/reconstruction.py --evalset FOLDER --model minilm_l6 --model-path FILE --weights int4_weight_only
        --method gptq --block-size 32
    python benchmarks/reconstruction.py --evalset FOLDER --model mobilenetv2 --equalize cross_layer --held-out 32

Weights "int4" and "int8" go with 8-bit activations with ranges from calibration, "int4_weight_only" with float
activations.  Accuracy is that of the float model that rounds as the deployed one does, scored by plain ONNX Runtime.
With --held-out, that many calibration samples teach nothing: the error of the model's outputs on them tells which
setting is best without a look at the evaluation samples.  The folder is read only; the document with all numbers goes
to --output.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from evalset_inputs import Arrays, UserInputs, feeds, prepare
from independent_check import paired_drop, score
from results import provenance, write_json

from autocompress.calibration.collect import collect
from autocompress.calibration.outputs import ActivationSessions
from autocompress.calibration.statistics import Statistics
from autocompress.graph.model import load_model, model_bytes, save_model
from autocompress.passes.equalize.step import EQUALIZATIONS, apply
from autocompress.passes.equalize.step import resolve as resolve_scales
from autocompress.passes.quantize import INT4_WEIGHT_ONLY, INT8, QuantizeConfig, QuantizePayload, Quantizer
from autocompress.passes.reconstruct import METHODS, ReconstructConfig, resolve
from autocompress.recipe.builder import CandidateBuilder
from autocompress.recipe.builder import prepare as prepare_model
from autocompress.runtimes import get_runtime

WEIGHTS = ("int4", "int8", "int4_weight_only")


def main(arguments: list[str] | None = None) -> int:
    """Runs one model with one method; returns 0."""
    options = _parse(arguments)
    with tempfile.TemporaryDirectory(prefix="reconstruction-") as folder:
        inputs = prepare(options.evalset / options.model, Path(folder), model=options.model_path)
        document = {**provenance("reconstruction"), **_measure(inputs, Path(folder), options)}
    write_json(options.output, document)
    for row in ("nearest", "reconstructed"):
        print(
            f"{options.model} {options.weights} {row}: {document[row]['candidate']:.4f} (-{document[row]['drop']:.4f})"
        )
    print(f"{document['reconstruct_cpu_s']:.0f} s of CPU time; error {document['mean_error_ratio']:.2f} of nearest's")
    return 0


def _measure(inputs: UserInputs, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    model = prepare_model(load_model(inputs.model))
    quantizer = CandidateBuilder(model, "onnxruntime", "").quantizer
    original, quantize = model, _quantize_config(options)
    samples, held_out = _split(feeds(inputs, inputs.calibration, [spec.name for spec in model.graph.input]), options)
    if EQUALIZATIONS[options.equalize] is not None:
        model = _equalized(model, quantizer, samples, options)
        quantizer = CandidateBuilder(model, "onnxruntime", "").quantizer
    payload = _payload(model, quantizer, quantize, samples, options)
    config = ReconstructConfig(
        method=options.method,
        samples=options.samples,
        iterations=options.iterations,
        drop_probability=options.drop_probability,
        seed=options.seed,
    )
    watched = _OnTerminal()
    wall, cpu = time.perf_counter(), time.process_time()
    found = resolve(
        model,
        quantizer,
        quantize,
        payload,
        config,
        lambda: _batches(samples, options.batch_size),
        progress=watched,
        deadline_s=options.deadline_s,
    )
    result: dict[str, Any] = {
        "model": inputs.name,
        "equalize": options.equalize,
        "quantize": quantize.to_dict(),
        "reconstruct": config.to_dict(),
        "calibration_samples": min(options.samples, len(next(iter(samples.values())))),
        "reconstruct_wall_s": time.perf_counter() - wall,
        "reconstruct_cpu_s": time.process_time() - cpu,
        "layers": {unit: [error.nearest, error.reconstructed] for unit, error in found.errors.items()},
    }
    ratios = [error.reconstructed / error.nearest for error in found.errors.values() if error.nearest > 0.0]
    result["mean_error_ratio"] = float(np.mean(ratios))
    baseline = score(inputs.model, inputs)
    for row, numbers in (("nearest", payload), ("reconstructed", found.applied_to(payload))):
        simulated = folder / f"{row}.onnx"
        save_model(quantizer.emit(quantize, numbers, simulate=True), simulated)
        result[row] = paired_drop(baseline, score(simulated, inputs))
        if held_out is not None:
            result[row]["held_out_error"] = _output_error(original, load_model(simulated), held_out)
    deployed = quantizer.emit(quantize, found.applied_to(payload))
    result["size_ratio"] = len(model_bytes(model)) / len(model_bytes(deployed))
    result["weight_size_ratio"] = _weight_size_ratio(model, deployed, found.integers)
    return result


def _quantize_config(options: argparse.Namespace) -> QuantizeConfig:
    if options.weights == "int4_weight_only":
        return QuantizeConfig(
            precision=INT4_WEIGHT_ONLY, weight_range=options.weight_range, block_size=options.block_size
        )
    return QuantizeConfig(
        precision=INT8,
        weight_dtype=options.weights,
        weight_range=options.weight_range,
        activation_range=options.activation_range,
    )


def _payload(
    model: onnx.ModelProto, quantizer: Quantizer, config: QuantizeConfig, samples: Arrays, options: argparse.Namespace
) -> QuantizePayload:
    if config.precision == INT4_WEIGHT_ONLY:
        return quantizer.resolve(config, Statistics({}, 0))
    return quantizer.resolve(config, _statistics(model, quantizer, samples, options))


def _statistics(
    model: onnx.ModelProto, quantizer: Quantizer, samples: Arrays, options: argparse.Namespace
) -> Statistics:
    runtime = get_runtime("onnxruntime")
    sessions = ActivationSessions(model, lambda changed: runtime.load(model_bytes(changed)))
    count = min(64, options.samples, len(next(iter(samples.values()))))
    return collect(sessions, _Samples(samples), range(count), quantizer.tensors)


def _equalized(
    model: onnx.ModelProto, quantizer: Quantizer, samples: Arrays, options: argparse.Namespace
) -> onnx.ModelProto:
    config = EQUALIZATIONS[options.equalize]
    assert config is not None
    return apply(model, resolve_scales(model, config, _statistics(model, quantizer, samples, options)))


def _split(samples: Arrays, options: argparse.Namespace) -> tuple[Arrays, Arrays | None]:
    """Calibration samples to learn from, and the last ones that nothing is learned from."""
    if not options.held_out:
        return samples, None
    return (
        {name: values[: -options.held_out] for name, values in samples.items()},
        {name: values[-options.held_out :] for name, values in samples.items()},
    )


def _output_error(original: onnx.ModelProto, candidate: onnx.ModelProto, samples: Arrays) -> float:
    """Mean square error of the outputs relative to their mean square."""
    runtime = get_runtime("onnxruntime")
    reference, other = runtime.load(model_bytes(original)), runtime.load(model_bytes(candidate))
    error = power = 0.0
    for batch in _batches(samples, 8):
        found = other.run(batch)
        for name, wanted in reference.run(batch).items():
            error += float(np.square(found[name] - wanted, dtype=np.float64).sum())
            power += float(np.square(wanted, dtype=np.float64).sum())
    return error / max(power, 1e-30)


def _weight_size_ratio(model: onnx.ModelProto, deployed: onnx.ModelProto, weights: Mapping[str, object]) -> float:
    """Bytes of the weights that became integers, before and after (scales and zero points included)."""

    def stored(graph: onnx.GraphProto, names: set[str] | None) -> int:
        return sum(len(w.raw_data) for w in graph.initializer if names is None or w.name in names)

    others = {w.name for w in model.graph.initializer} - set(weights)
    after = {w.name for w in deployed.graph.initializer} - others
    return stored(model.graph, set(weights)) / stored(deployed.graph, after)


def _batches(samples: Arrays, size: int) -> Iterator[Arrays]:
    for start in range(0, len(next(iter(samples.values()))), size):
        yield {name: values[start : start + size] for name, values in samples.items()}


class _Samples:
    """Calibration arrays as the statistics are collected from them."""

    def __init__(self, arrays: Arrays) -> None:
        self._arrays = arrays

    def inputs(self, indices: Sequence[int]) -> Arrays:
        """Model inputs of the named samples."""
        return {name: values[np.asarray(indices)] for name, values in self._arrays.items()}


class _OnTerminal:
    """Shows progress on standard error, a line at a time."""

    def stage(self, name: str, total: int | None = None, limit_s: float | None = None) -> None:
        """Begins a stage."""
        print(f"{name}: {total}", file=sys.stderr, flush=True)

    def advance(self, n: int = 1) -> None:
        """Does nothing: every step brings a detail."""

    def detail(self, text: str) -> None:
        """Shows a few words."""
        print(f"  {text}", file=sys.stderr, flush=True)

    def best(self, text: str) -> None:
        """Shows the best so far."""
        print(f"  {text}", file=sys.stderr, flush=True)

    def notice(self, text: str) -> None:
        """Shows a sentence."""
        print(text, file=sys.stderr, flush=True)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evalset", type=Path, required=True, help="folder of folders: model, data, meta.json")
    parser.add_argument("--model", required=True, help="folder name")
    parser.add_argument("--model-path", type=Path, help="ONNX file kept apart")
    parser.add_argument("--method", choices=METHODS, default="adaround")
    parser.add_argument("--weights", choices=WEIGHTS, default="int4")
    parser.add_argument("--weight-range", default="mse", help="range algorithm of the weights")
    parser.add_argument("--activation-range", default="mse", help="range algorithm of the activations")
    parser.add_argument("--block-size", type=int, choices=(32, 64, 128), default=32)
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--drop-probability", type=float, default=0.5, help="of blocks (QDrop)")
    parser.add_argument("--equalize", choices=tuple(EQUALIZATIONS), default="none", help="before quantization")
    parser.add_argument("--held-out", type=int, default=0, help="calibration samples that only tell the error")
    parser.add_argument("--deadline-s", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("reconstruction.json"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
