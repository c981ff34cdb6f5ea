"""Times the same matrix products with dense and with sparse weights, in each runtime, in turn.

    python benchmarks/sparse_execution.py [--sizes 128x384x1536,...] [--sparsities 0.5,0.9] [--output result.json]

A case is one layer y = x W with x of shape (rows, inputs) in float32 or as QDQ int8.  In each round, every variant of
a case runs once: dense, unstructured zeros, 2:4 and, for OpenVINO, with ``CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE`` set
so that weights with fewer zeros than the rate stay dense.  The clock is the processor time of this process (one
thread), the result the median over rounds of dense / variant: above 1 the variant is faster.  "dense again" is the
dense model loaded a second time: what differs from 1 there is noise.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from results import provenance, write_json

FloatArray = npt.NDArray[np.float32]
Run = Callable[[], object]

SIZES = "1x768x3072,128x384x1536,128x768x3072,128x1024x4096"
_WARM_UP = 3
_CHUNK_S = 0.01


@dataclass(frozen=True)
class Row:
    """One variant of one case.

    Attributes:
        runtime: "onnxruntime" or "openvino".
        precision: "fp32" or "int8".
        size: rows x inputs x outputs.
        variant: what the weight looks like and how it was loaded.
        latency_ms: median processor time of a run.
        speedup: median over rounds of dense / variant.
        kernel: which kernel OpenVINO chose; "" for ONNX Runtime, which does not say.
    """

    runtime: str
    precision: str
    size: str
    variant: str
    latency_ms: float
    speedup: float
    kernel: str


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the arguments, times, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=SIZES)
    parser.add_argument("--sparsities", default="0.5,0.8,0.95")
    parser.add_argument("--seconds", type=float, default=3.0, help="timing per case")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    options = parser.parse_args(arguments)
    sparsities = [float(text) for text in options.sparsities.split(",")]
    rows: list[Row] = []
    for size in options.sizes.split(","):
        for precision in ("fp32", "int8"):
            for runtime, load in (("onnxruntime", _onnxruntime), ("openvino", _openvino)):
                rows += _case(runtime, precision, size, sparsities, options.seconds, load)
                for row in rows[-len(sparsities) - 2 :]:
                    print(
                        f"{row.runtime:12} {row.precision} {row.size:14} {row.variant:28} {row.speedup:5.2f}x",
                        flush=True,
                    )
    document = {**provenance("sparse_execution"), "rows": [asdict(row) for row in rows]}
    if options.output:
        write_json(options.output, document)
    print(json.dumps(document, indent=2))


def _case(
    runtime: str,
    precision: str,
    size: str,
    sparsities: Sequence[float],
    seconds: float,
    load: Callable[[onnx.ModelProto, FloatArray, float | None], tuple[Run, str]],
) -> list[Row]:
    rows, inputs, outputs = (int(number) for number in size.split("x"))
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, inputs)).astype(np.float32)
    weight = (rng.standard_normal((inputs, outputs)) / np.sqrt(inputs)).astype(np.float32)
    variants: dict[str, tuple[FloatArray, float | None]] = {"dense": (weight, None), "dense again": (weight, None)}
    variants["2:4"] = (_two_of_four(weight), None)
    for sparsity in sparsities:
        sparse = _unstructured(weight, sparsity)
        variants[f"{sparsity:.0%} zero"] = (sparse, None)
        if runtime == "openvino":
            # A little below the sparsity itself: at the rate or above, the sparse form is used.
            variants[f"{sparsity:.0%} zero, sparse rate set"] = (sparse, sparsity - 0.05)
    loaded = {name: load(_model(values, precision), x, rate) for name, (values, rate) in variants.items()}
    times = _rounds({name: run for name, (run, _) in loaded.items()}, seconds)
    dense = times["dense"]
    return [
        Row(
            runtime,
            precision,
            size,
            name,
            float(np.median(found)) * 1e3,
            float(np.median(dense / found)),
            loaded[name][1],
        )
        for name, found in times.items()
    ]


def _rounds(runs: Mapping[str, Run], seconds: float) -> dict[str, npt.NDArray[np.float64]]:
    """Processor seconds per run of each variant, one entry per round; the order turns from round to round."""
    names = list(runs)
    chunks: dict[str, int] = {}
    for name in names:
        for _ in range(_WARM_UP):
            runs[name]()
        chunks[name] = max(1, round(_CHUNK_S / max(_clocked(runs[name], 3), 1e-7)))
    found: dict[str, list[float]] = {name: [] for name in names}
    end = time.process_time() + seconds
    while time.process_time() < end or len(found[names[0]]) < 10:
        names = [*names[1:], names[0]]
        for name in names:
            found[name].append(_clocked(runs[name], chunks[name]))
    return {name: np.array(found[name]) for name in runs}


def _clocked(run: Run, count: int) -> float:
    start = time.process_time()
    for _ in range(count):
        run()
    return (time.process_time() - start) / count


def _unstructured(weight: FloatArray, sparsity: float) -> FloatArray:
    flat = np.abs(weight).reshape(-1)
    order = np.argsort(flat, kind="stable")
    kept = np.ones(flat.size, np.bool_)
    kept[order[: round(sparsity * flat.size)]] = False
    return np.where(kept.reshape(weight.shape), weight, np.float32(0))


def _two_of_four(weight: FloatArray) -> FloatArray:
    """The two largest of each four inputs stay."""
    groups = np.abs(weight).reshape(-1, 4, weight.shape[1])
    kept = np.argsort(np.argsort(groups, axis=1, kind="stable"), axis=1) >= 2
    return np.where(kept.reshape(weight.shape), weight, np.float32(0))


def _model(weight: FloatArray, precision: str) -> onnx.ModelProto:
    """The product, or its QDQ form: unsigned activations, signed weights with one scale per output."""
    inputs, outputs = weight.shape
    nodes, stored = [], []
    x, w = "x", "w"
    if precision == "int8":
        scale = (np.abs(weight).max(axis=0) / 127).astype(np.float32)
        quantized = np.clip(np.round(weight / scale), -127, 127).astype(np.int8)
        stored = [
            numpy_helper.from_array(np.float32(8 / 255), "x_scale"),
            numpy_helper.from_array(np.uint8(128), "x_zero"),
            numpy_helper.from_array(scale, "w_scale"),
            numpy_helper.from_array(np.zeros(outputs, np.int8), "w_zero"),
            numpy_helper.from_array(quantized, "w_q"),
        ]
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "x_scale", "x_zero"], ["x_q"]),
            helper.make_node("DequantizeLinear", ["x_q", "x_scale", "x_zero"], ["x_dq"]),
            helper.make_node("DequantizeLinear", ["w_q", "w_scale", "w_zero"], ["w_dq"], axis=1),
        ]
        x, w = "x_dq", "w_dq"
    else:
        stored = [numpy_helper.from_array(weight, "w")]
    nodes.append(helper.make_node("MatMul", [x, w], ["y"]))
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", inputs])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", outputs])
    graph = helper.make_graph(nodes, "product", [given], [result], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _onnxruntime(model: onnx.ModelProto, x: FloatArray, rate: float | None) -> tuple[Run, str]:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": x}), ""


def _openvino(model: onnx.ModelProto, x: FloatArray, rate: float | None) -> tuple[Run, str]:
    import openvino

    core = openvino.Core()
    network = core.read_model(model.SerializeToString())
    network.reshape(list(x.shape))
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1}
    if rate is not None:
        settings["CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE"] = rate
    compiled = core.compile_model(network, "CPU", settings)
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(x))
    return request.infer, _kernel(compiled)


def _kernel(compiled: Any) -> str:
    """The kernel of the matrix product in the graph that really runs."""
    for node in compiled.get_runtime_model().get_ordered_ops():
        attributes = node.get_rt_info()
        if str(attributes["layerType"].astype(str)) in ("FullyConnected", "MatMul"):
            return str(attributes["primitiveType"].astype(str))
    return "unknown"


if __name__ == "__main__":
    main()
