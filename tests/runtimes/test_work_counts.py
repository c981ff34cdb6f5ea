"""Multiply-adds and bytes of executed operators against counts by hand."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from autocompress.graph.signature import OpSignature, TensorType
from autocompress.latency.families import family_of
from autocompress.runtimes import get_runtime
from autocompress.runtimes.work import bytes_touched, multiply_adds, products_within, weight_bytes, weight_of

RNG = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return (RNG.standard_normal(shape) * 0.1).astype(np.float32)


def model_of(
    node: onnx.NodeProto, inputs: Mapping[str, tuple[int, ...]], weights: Mapping[str, np.ndarray], opset: int
) -> bytes:
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())


def executed(
    node: onnx.NodeProto,
    inputs: Mapping[str, tuple[int, ...]],
    weights: Mapping[str, np.ndarray],
    opset: int = 17,
    runtime: str = "onnxruntime",
) -> list[OpSignature]:
    if runtime == "openvino":
        pytest.importorskip("openvino")
    feeds = {name: floats(*shape) for name, shape in inputs.items()}
    model = model_of(node, inputs, weights, opset)
    return [op.signature for op in get_runtime(runtime).executed_ops(model, feeds)]


def only(signatures: list[OpSignature], op_type: str) -> OpSignature:
    (found,) = (s for s in signatures if s.op_type == op_type)
    return found


@pytest.mark.parametrize("accuracy_level", [0, 4])
@pytest.mark.parametrize("block_size", [32, 64, 128])
def test_products_with_4_bit_weights(block_size: int, accuracy_level: int) -> None:
    rows, columns = 256, 48
    weights = {
        "w": RNG.integers(0, 256, (columns, rows // block_size, block_size // 2)).astype(np.uint8),
        "s": floats(columns, rows // block_size),
    }
    node = helper.make_node(
        "MatMulNBits", ["x", "w", "s"], ["y"], domain="com.microsoft", K=rows, N=columns, bits=4,
        block_size=block_size, accuracy_level=accuracy_level,
    )  # fmt: skip
    signature = only(executed(node, {"x": (2, 5, rows)}, weights), "MatMulNBits")
    assert multiply_adds(signature) == 2 * 5 * rows * columns
    assert weight_bytes(signature) == rows * columns // 2 + 4 * columns * rows // block_size
    assert weight_of(signature) == TensorType("uint8", weights["w"].shape, True)


@pytest.mark.parametrize(("cell", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_recurrent_cells(runtime: str, cell: str, gates: int, directions: int) -> None:
    steps, batch, features, hidden = 7, 2, 12, 20
    weights = {"w": floats(directions, gates * hidden, features), "r": floats(directions, gates * hidden, hidden)}
    node = helper.make_node(
        cell, ["x", "w", "r"], ["y"], hidden_size=hidden, direction="bidirectional" if directions == 2 else "forward"
    )
    found = executed(node, {"x": (steps, batch, features)}, weights, runtime=runtime)
    assert sum(map(multiply_adds, found)) == steps * batch * directions * gates * hidden * (features + hidden)
    # Biases and initial states that a runtime makes up are a few vectors.
    expected = 4 * directions * gates * hidden * (features + hidden)
    assert expected <= sum(map(weight_bytes, found)) <= 1.15 * expected


@pytest.mark.parametrize("group", [1, 2, 8])
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_grouped_convolutions(runtime: str, group: int) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4, strides=[2, 2], group=group)
    found = executed(node, {"x": (1, 32, 9, 11)}, {"w": floats(48, 32 // group, 3, 3)}, runtime=runtime)
    # Each of 48 x 5 x 6 results sums 3 x 3 x (32 / group) products.
    assert sum(map(multiply_adds, found)) == 48 * 5 * 6 * 9 * (32 // group)


def test_one_and_three_dimensional_convolutions() -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], dilations=[3], pads=[3, 3])
    assert sum(map(multiply_adds, executed(node, {"x": (1, 6, 40)}, {"w": floats(10, 6, 3)}))) == 10 * 40 * 6 * 3
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    assert sum(map(multiply_adds, executed(node, {"x": (1, 2, 5, 6, 7)}, {"w": floats(4, 2, 2, 2, 2)}))) == (
        4 * (4 * 5 * 6) * 2 * 8
    )


@pytest.mark.parametrize("group", [1, 4])
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_transposed_convolutions(runtime: str, group: int) -> None:
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2], pads=[1] * 4, group=group)
    found = executed(node, {"x": (1, 16, 6, 5)}, {"w": floats(16, 24 // group, 4, 4)}, runtime=runtime)
    # Each of 16 x 6 x 5 inputs goes into 4 x 4 places of 24 / group results.
    assert sum(map(multiply_adds, found)) == 16 * 6 * 5 * 16 * (24 // group)


def test_attention_with_a_projection_of_its_own() -> None:
    length, width, heads = 10, 24, 4
    node = helper.make_node(
        "Attention", ["x", "w", "b"], ["y"], domain="com.microsoft", num_heads=heads
    )  # fmt: skip
    weights = {"w": floats(width, 3 * width), "b": floats(3 * width)}
    signature = only(executed(node, {"x": (2, length, width)}, weights), "Attention")
    projections = 2 * length * width * 3 * width
    assert multiply_adds(signature) == projections + 2 * (2 * length * length * width)


def test_attention_between_sequences_of_different_lengths() -> None:
    node = helper.make_node("MultiHeadAttention", ["q", "k", "v"], ["y"], domain="com.microsoft", num_heads=4)
    inputs = {"q": (1, 10, 24), "k": (1, 15, 24), "v": (1, 15, 24)}
    signature = only(executed(node, inputs, {}), "MultiHeadAttention")
    assert multiply_adds(signature) == 2 * 10 * 15 * 24


def test_attention_of_the_standard_operator_set_with_a_constant_mask() -> None:
    node = helper.make_node("Attention", ["q", "k", "v", "m"], ["y"])
    inputs = {"q": (1, 4, 10, 6), "k": (1, 4, 15, 6), "v": (1, 4, 15, 6)}
    signature = only(executed(node, inputs, {"m": floats(10, 15)}, opset=23), "Attention")
    assert multiply_adds(signature) == 2 * 4 * 10 * 15 * 6


def test_sums_over_named_indices() -> None:
    node = helper.make_node("Einsum", ["x", "w"], ["y"], equation="bij, kj -> bik")
    found = executed(node, {"x": (3, 4, 5)}, {"w": floats(6, 5)})
    assert sum(map(multiply_adds, found)) == 3 * 4 * 5 * 6


def test_of_a_table_only_what_is_looked_up_is_touched() -> None:
    table, rows = TensorType("float32", (30000, 64), True), TensorType("int64", (1, 10))
    signature = OpSignature("", "Gather", (table, rows), (TensorType("float32", (1, 10, 64)),))
    assert bytes_touched(signature) == 2 * 10 * 64 * 4 + 10 * 8
    assert weight_bytes(signature) == 30000 * 64 * 4
    few = OpSignature("", "Gather", (TensorType("float32", (4, 8)), rows), (TensorType("float32", (1, 10, 8)),))
    assert bytes_touched(few) == 4 * 8 * 4 + 10 * 8 + 10 * 8 * 4


def loop(op_type: str, *operands: TensorType, fused: tuple[str, ...] = ("MatMul", "Add")) -> OpSignature:
    attributes = (("fused", fused), ("kernel", "jit_avx512_f32"), ("multiply_adds", 1000))
    return OpSignature("openvino", op_type, operands, (operands[0],), attributes)


def test_a_loop_that_only_bears_the_name_of_a_product_computes_none() -> None:
    x, row = TensorType("float32", (1, 14, 14, 512)), TensorType("float32", (1, 1, 1, 512), True)
    matrix, axes = TensorType("float32", (64, 256), True), TensorType("int32", (3,), True)
    for named in (loop("Eltwise", x, row), loop("Subgraph", x, x), loop("Transpose", x, axes)):
        assert multiply_adds(named) == products_within(named) == 0
        assert family_of(named) != "attention"
    for computed in (loop("Subgraph", x, x, x, fused=("MatMul", "Softmax", "MatMul")), loop("Subgraph", x, matrix)):
        assert multiply_adds(computed) == products_within(computed) == 1000
        assert family_of(computed) == "attention"
