"""Runs the reconstruction step on small models, and measures layers without the step's own arithmetic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from quantize_models import Arrays, FloatGraph, Study, run

from autocompress.calibration.outputs import with_tensor_outputs
from autocompress.passes.quantize import QuantizeConfig, QuantizePayload
from autocompress.passes.reconstruct import ReconstructConfig, ReconstructPayload, resolve

W4A8 = QuantizeConfig(weight_dtype="int4")
QUICK = ReconstructConfig(iterations=200, batch_rows=128)


def in_batches(feeds: Arrays, size: int = 8):
    """Starts passes over the samples."""

    def batches() -> Iterator[Mapping[str, np.ndarray]]:
        for start in range(0, len(next(iter(feeds.values()))), size):
            yield {name: values[start : start + size] for name, values in feeds.items()}

    return batches


def quantize_payload(study: Study, config: QuantizeConfig) -> QuantizePayload:
    return study.builder.quantizer.resolve(config, study.statistics)


def reconstruct(
    study: Study, quantize: QuantizeConfig = W4A8, config: ReconstructConfig = QUICK, **options: object
) -> ReconstructPayload:
    builder = study.builder
    payload = quantize_payload(study, quantize)
    return resolve(builder.prepared, builder.quantizer, quantize, payload, config, in_batches(study.feeds), **options)  # type: ignore[arg-type]


def candidate(study: Study, quantize: QuantizeConfig, found: ReconstructPayload) -> onnx.ModelProto:
    """The simulation of the quantized model with the integers found."""
    payload = found.applied_to(quantize_payload(study, quantize))
    return study.builder.quantizer.emit(quantize, payload, simulate=True)


def output_error(study: Study, model: onnx.ModelProto, tensor: str) -> float:
    """Relative mean square error of a tensor against the float model, by ONNX Runtime."""
    wanted = run(with_tensor_outputs(study.builder.prepared, [tensor]), study.feeds)[tensor]
    found = run(with_tensor_outputs(model, [tensor]), study.feeds)[tensor]
    return float(((found - wanted).astype(np.float64) ** 2).mean() / (wanted.astype(np.float64) ** 2).mean())


def correlated(rng: np.random.Generator, samples: int, *shape: int) -> np.ndarray:
    """Inputs whose channels go together and have means, as those of real layers do; one sample per row."""
    mixing = rng.standard_normal((shape[0], shape[0])) / np.sqrt(shape[0]) + 0.5
    values = rng.standard_normal((samples, *shape)) + 0.3
    for axis in range(2, values.ndim):  # neighbouring positions are alike
        values = values + np.roll(values, 1, axis) + np.roll(values, 2, axis)
    return np.einsum("ij,nj...->ni...", mixing, values).astype(np.float32)


def layer_study(kind: str, *, activation: str = "", seed: int = 3) -> Study:
    """A model of one layer: "conv", "strided", "grouped", "depthwise", "gemm" or "matmul"."""
    graph = FloatGraph(seed=seed)
    if kind in ("gemm", "matmul"):
        rows = () if kind == "gemm" else (6,)
        x = graph.input("x", *rows, 24)
        weight = graph.random(24, 10)
        y = graph.op("Gemm", x, weight, graph.random(10)) if kind == "gemm" else graph.op("MatMul", x, weight)
    else:
        x = graph.input("x", 8, 9, 9)
        group = {"grouped": 2, "depthwise": 8}.get(kind, 1)
        operands = [x, graph.random(16, 8 // group, 3, 3), graph.random(16)]
        spatial = (
            {"strides": [2, 1], "dilations": [1, 2], "pads": [2, 1, 0, 1]} if kind == "strided" else {"pads": [1] * 4}
        )
        y = graph.op("Conv", *operands, kernel_shape=[3, 3], group=group, **spatial)
    if activation == "relu6":
        y = graph.op("Clip", y, graph.constant(np.float32(0)), graph.constant(np.float32(6)))
    elif activation:
        y = graph.op(activation, y)
    graph.output(y)
    model = graph.model()
    rng = np.random.default_rng(seed)
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim[1:]]
    inputs = correlated(rng, 32, *shape) if kind != "matmul" else correlated(rng, 32 * 6, 24).reshape(32, 6, 24)
    return Study(model, {"x": inputs})
