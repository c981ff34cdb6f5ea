"""Small QDQ models to look at."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class QdqGraph:
    """Builds a graph node by node; tensors are named t1, t2, ..."""

    def __init__(self, activation: str = "uint8") -> None:
        self.activation = np.dtype(activation).type
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.rng = np.random.default_rng(0)

    @property
    def smallest(self) -> int:
        return int(np.iinfo(self.activation).min)

    def constant(self, values: object) -> str:
        name = f"k{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def op(self, op_type: str, inputs: list[str], results: int = 1, **attributes: object) -> list[str]:
        position = len(self.nodes)
        outputs = [f"t{position}_{j}" for j in range(results)]
        self.nodes.append(helper.make_node(op_type, inputs, outputs, name=f"{op_type}_{position}", **attributes))
        return outputs

    def qdq(self, name: str, scale: float = 0.02, zero_point: int | None = None) -> str:
        middle = self.smallest + 128
        scale_name = self.constant(np.float32(scale))
        zero_name = self.constant(self.activation(middle if zero_point is None else zero_point))
        (quantized,) = self.op("QuantizeLinear", [name, scale_name, zero_name])
        return self.op("DequantizeLinear", [quantized, scale_name, zero_name])[0]

    def weight(self, shape: tuple[int, ...], axis: int, dtype: str = "int8", *, per_channel: bool = True) -> str:
        kind = np.dtype(dtype).type
        low, high = (-100, 100) if dtype == "int8" else (1, 250)
        values = self.constant(self.rng.integers(low, high, shape).astype(kind))
        n = shape[axis]
        zero = 0 if dtype == "int8" else 128
        if per_channel:
            scale, zeros = self.constant(np.full(n, 0.01, np.float32)), self.constant(np.full(n, zero, kind))
            return self.op("DequantizeLinear", [values, scale, zeros], axis=axis)[0]
        return self.op("DequantizeLinear", [values, self.constant(np.float32(0.01)), self.constant(kind(zero))])[0]

    def bias(self, n: int) -> str:
        values = self.constant(self.rng.integers(-1000, 1000, n).astype(np.int32))
        scale, zeros = self.constant(np.full(n, 2e-4, np.float32)), self.constant(np.zeros(n, np.int32))
        return self.op("DequantizeLinear", [values, scale, zeros], axis=0)[0]

    def model(self, inputs: dict[str, tuple[int, ...]], outputs: list[str]) -> bytes:
        graph = helper.make_graph(
            self.nodes,
            "g",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return bytes(model.SerializeToString())


def feeds_for(inputs: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in inputs.items()}
