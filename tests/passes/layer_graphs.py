"""Small float graphs, and ways to run them, for tests of passes that change layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from autocompress.graph.normalize import normalize
from autocompress.passes.fold import fold

Arrays = dict[str, np.ndarray]


class LayerGraph:
    """Builds a graph node by node; every method returns the name of the tensor it made."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[str] = []

    def input(self, name: str, *sizes: int) -> str:
        """A graph input with a dynamic batch before ``sizes``."""
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *sizes]))
        return name

    def constant(self, values: object) -> str:
        name = f"k{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def random(self, *shape: int) -> str:
        return self.constant((self.rng.standard_normal(shape) * 0.3).astype(np.float32))

    def op(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        position = len(self.nodes)
        self.nodes.append(
            helper.make_node(op_type, list(inputs), [f"t{position}"], name=f"{op_type}_{position}", **attributes)
        )
        return f"t{position}"

    def output(self, *names: str) -> None:
        self.outputs.extend(names)

    def model(self, opset: int = 17) -> onnx.ModelProto:
        """The model, normalized and folded."""
        return fold(normalize(self.raw(opset)))

    def raw(self, opset: int = 17) -> onnx.ModelProto:
        """The model as it was built."""
        blank = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in self.outputs]
        graph = helper.make_graph(self.nodes, "g", self.inputs, blank, self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def run(model: onnx.ModelProto, feeds: Arrays) -> np.ndarray:
    """The first output in ONNX Runtime, its own rewrites switched off."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]


def samples(model: onnx.ModelProto, count: int = 4, seed: int = 1) -> Arrays:
    """Inputs whose channels go together, so that their second moments tell something."""
    rng = np.random.default_rng(seed)
    feeds = {}
    for given in model.graph.input:
        shape = [d.dim_value for d in given.type.tensor_type.shape.dim][1:]
        axis = 0 if len(shape) >= 3 else len(shape) - 1
        mixing = rng.standard_normal((shape[axis],) * 2) * np.geomspace(1, 0.02, shape[axis])
        values = np.moveaxis(rng.standard_normal((count, *shape)), axis + 1, -1) @ mixing.T
        feeds[given.name] = np.ascontiguousarray(np.moveaxis(values, -1, axis + 1), np.float32)
    return feeds


def batches_of(feeds: Arrays, size: int = 2) -> Callable[[], Iterator[Arrays]]:
    """Samples a few at a time, each call a new pass."""
    count = len(next(iter(feeds.values())))

    def batches() -> Iterator[Arrays]:
        for start in range(0, count, size):
            yield {name: values[start : start + size] for name, values in feeds.items()}

    return batches
