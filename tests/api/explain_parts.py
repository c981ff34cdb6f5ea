"""An estimator whose every price is known, and executed graphs to explain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from autocompress.api.explain.executed import PricedGraph, PricedOp
from autocompress.api.explain.given import GivenModel
from autocompress.api.explain.reasons import Evidence, reasons_of
from autocompress.api.feeds import random_feeds
from autocompress.graph.signature import OpSignature
from autocompress.latency.composition import Composition
from autocompress.latency.estimator import LatencyEstimator
from autocompress.latency.predictor import Prediction
from autocompress.latency.roofline import Roofline
from autocompress.runtimes import get_runtime
from autocompress.runtimes.protocol import ExecutedOp
from autocompress.runtimes.work import bytes_touched, multiply_adds

ROOFLINE = Roofline(float_gmacs=50.0, int8_gmacs=200.0, gbytes_per_s=20.0, launch_us=0.2)


class Rule:
    """Prices operators by a rule that tests can compute themselves: 1 us, arithmetic, bytes; uint8 weights are slow."""

    def __init__(self, integer_macs_per_us: float = 100e3) -> None:
        self._integer_macs_per_us = integer_macs_per_us

    def us(self, signature: OpSignature) -> float:
        first = next((t for t in signature.inputs if t is not None), None)
        integer = first is not None and first.dtype in ("uint8", "int8")
        weights = [t for t in signature.inputs if t is not None and t.constant and len(t.shape) >= 2]
        slow = integer and any(w.dtype == "uint8" for w in weights)
        rate = (self._integer_macs_per_us if integer else 40e3) / (3.0 if slow else 1.0)
        return 1.0 + multiply_adds(signature) / rate + bytes_touched(signature) / 20e3

    def predict(self, signatures: Sequence[OpSignature]) -> list[Prediction | None]:
        return [Prediction(self.us(s), 0.95 * self.us(s), 1.05 * self.us(s)) for s in signatures]


def estimator_of(rule: Rule | None = None) -> LatencyEstimator:
    return LatencyEstimator(None, rule or Rule(), composition=Composition(), roofline=ROOFLINE)


def executed(model: onnx.ModelProto, runtime: str = "onnxruntime") -> list[ExecutedOp]:
    feeds = random_feeds(model)
    return list(get_runtime(runtime).executed_ops(model.SerializeToString(), feeds, standalone=False))


def evidence_of(model: onnx.ModelProto, runtime: str = "onnxruntime", rule: Rule | None = None) -> Evidence:
    engine, estimator = get_runtime(runtime), estimator_of(rule)
    graph = PricedGraph(executed(model, runtime), estimator)
    return Evidence(graph, GivenModel(model, engine.quantization), estimator, runtime)


def reasons(evidence: Evidence) -> dict[str, list[str]]:
    """Code of a reason -> what is said, over all operators."""
    found: dict[str, list[str]] = {}
    for op in evidence.graph.ops:
        for reason in reasons_of(op, evidence):
            found.setdefault(reason.code, []).append(reason.text)
    return found


def only(evidence: Evidence, op_type: str) -> PricedOp:
    (op,) = [op for op in evidence.graph.ops if op.signature.op_type == op_type]
    return op


def float_model(
    nodes: Sequence[onnx.NodeProto], weights: dict[str, tuple[int, ...]], inputs, outputs
) -> onnx.ModelProto:
    """A float model of opset 17 with random weights of the given shapes."""
    generator = np.random.default_rng(0)
    tensors = [
        onnx.numpy_helper.from_array(generator.standard_normal(shape).astype(np.float32), name)
        for name, shape in weights.items()
    ]
    values = [
        [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in group.items()]
        for group in (inputs, outputs)
    ]
    graph = onnx.helper.make_graph(list(nodes), "g", *values, tensors)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return onnx.shape_inference.infer_shapes(model)
