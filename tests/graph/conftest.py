from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper


def small_network(opset: int = 17) -> onnx.ModelProto:
    """Conv, Relu, global pool, Gemm with a dynamic batch; weights drawn with a fixed seed."""
    rng = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> TensorProto:
        return numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "v", "d"], ["y"], name="gemm", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5])],
        [weight("w", 16, 3, 3, 3), weight("b", 16), weight("v", 5, 16), weight("d", 5)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def execute(model: onnx.ModelProto | str, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """ONNX Runtime with every optimization off: the independent reference."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    source = model if isinstance(model, str) else model.SerializeToString()
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"]).run(None, dict(feeds))


@pytest.fixture
def network() -> onnx.ModelProto:
    return small_network()


@pytest.fixture
def network_at() -> Callable[[int], onnx.ModelProto]:
    return small_network


@pytest.fixture
def run() -> Callable[..., list[np.ndarray]]:
    return execute


@pytest.fixture
def graph_model() -> Callable[..., onnx.ModelProto]:
    """Builds a model from nodes; inputs and outputs as name -> shape (float32) or ready value infos."""

    def value(given: object, name: str) -> onnx.ValueInfoProto:
        if isinstance(given, onnx.ValueInfoProto):
            return given
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, given)

    def build(
        nodes: list[onnx.NodeProto],
        inputs: Mapping[str, object],
        outputs: Mapping[str, object],
        weights: Mapping[str, np.ndarray] | None = None,
        opset: int = 17,
    ) -> onnx.ModelProto:
        graph = helper.make_graph(
            nodes,
            "g",
            [value(shape, name) for name, shape in inputs.items()],
            [value(shape, name) for name, shape in outputs.items()],
            [numpy_helper.from_array(np.asarray(array), name) for name, array in (weights or {}).items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)

    return build
