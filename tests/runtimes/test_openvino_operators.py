"""Operators as OpenVINO executes them: what identifies them, what they stand for, what is known of their time."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("openvino", reason="openvino is not installed")

from autocompress.latency.families import family_of
from autocompress.runtimes.openvino_accounting import _latency_us
from autocompress.runtimes.openvino_cpu import OpenVinoCpu
from autocompress.runtimes.protocol import ExecutedOp
from autocompress.runtimes.work import multiply_adds, weight_bytes

sys.path.append(str(Path(__file__).parent))
from qdq_models import QdqGraph, feeds_for

RUNTIME = OpenVinoCpu()


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def executed(
    nodes: Sequence[onnx.NodeProto], feeds: dict[str, np.ndarray], weights: dict[str, np.ndarray]
) -> list[ExecutedOp]:
    graph = helper.make_graph(
        list(nodes),
        "g",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(values.dtype), values.shape)
            for name, values in feeds.items()
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return list(RUNTIME.executed_ops(model.SerializeToString(), feeds))


def only(ops: Sequence[ExecutedOp], op_type: str) -> ExecutedOp:
    (op,) = (op for op in ops if op.signature.op_type == op_type)
    return op


def conv(name: str = "conv", group: int = 1, **attributes: object) -> list[onnx.NodeProto]:
    return [helper.make_node("Conv", ["x", "w", "b"], ["y"], name=name, group=group, **attributes)]


@pytest.mark.parametrize("group", [1, 2, 16])
def test_kernels_of_convolutions_have_their_onnx_shape(group: int) -> None:
    weights = {"w": random(32, 16 // group, 3, 3), "b": random(32)}
    op = only(executed(conv(group=group), {"x": random(1, 16, 10, 10)}, weights), "Convolution")
    assert op.signature.inputs[1] is not None
    assert op.signature.inputs[1].shape == (32, 16 // group, 3, 3)
    assert dict(op.signature.attributes).get("group", 1) == group
    assert multiply_adds(op.signature) == 32 * 8 * 8 * (16 // group) * 9
    assert weight_bytes(op.signature) == 4 * (weights["w"].size + 32)
    kind = {1: "dense", 2: "dense", 16: "depthwise"}[group]
    assert family_of(op.signature) == f"conv_{kind}_float"


def test_names_and_spelled_out_defaults_do_not_change_a_signature() -> None:
    feeds, weights = {"x": random(1, 16, 10, 10)}, {"w": random(32, 16, 3, 3), "b": random(32)}
    plain = only(executed(conv(), feeds, weights), "Convolution")
    spelled = conv("other", strides=[1, 1], dilations=[1, 1], pads=[0] * 4, kernel_shape=[3, 3])
    assert plain.signature == only(executed(spelled, feeds, weights), "Convolution").signature
    padded = only(executed(conv(pads=[1] * 4), feeds, weights), "Convolution")
    strided = only(executed(conv(strides=[2, 2]), feeds, weights), "Convolution")
    assert len({plain.signature.key, padded.signature.key, strided.signature.key}) == 3
    assert dict(strided.signature.attributes)["strides"] == (2, 2)


def test_what_is_fused_tells_kernels_apart_and_is_what_they_stand_for() -> None:
    feeds, weights = {"x": random(1, 16, 10, 10)}, {"w": random(16, 16, 3, 3), "b": random(16)}
    # OpenVINO makes equal weights one, and adds a bias that two layers share apart from them.
    weights |= {f"{name}{i}": i * weights[name] for name in "wb" for i in (2, 3)}

    def conv_to(result: str) -> list[onnx.NodeProto]:
        return [helper.make_node("Conv", ["x", "w", "b"], [result], name="conv", pads=[1] * 4)]

    def block(*activation: onnx.NodeProto) -> ExecutedOp:
        return only(executed([*conv_to("c"), *activation], feeds, weights), "Convolution")

    relu = block(helper.make_node("Relu", ["c"], ["y"], name="relu"))
    silu = block(
        helper.make_node("Sigmoid", ["c"], ["s"], name="gate"),
        helper.make_node("Mul", ["c", "s"], ["y"], name="product"),
    )
    branch = [
        helper.make_node("Conv", ["c", "w2", "b2"], ["d"], name="second", pads=[1] * 4),
        helper.make_node("Conv", ["d", "w3", "b3"], ["e"], name="third", pads=[1] * 4),
        helper.make_node("Add", ["e", "c"], ["y"], name="sum"),
    ]
    *_, residual = (
        op for op in executed([*conv_to("c"), *branch], feeds, weights) if op.signature.op_type == "Convolution"
    )
    assert relu.sources == ("conv", "relu")
    assert dict(relu.signature.attributes)["fused"] == ("Relu",)
    assert silu.sources[0] == "conv" and set(silu.sources) == {"conv", "gate", "product"}
    assert dict(silu.signature.attributes)["fused"] == ("Sigmoid", "Mul")
    assert residual.sources == ("third", "sum")
    assert [t and t.shape for t in residual.signature.inputs][3] == (1, 16, 10, 10)


def test_conversions_are_called_what_they_are() -> None:
    graph = QdqGraph()
    weight = graph.weight((32, 16, 3, 3), 0)
    (result,) = graph.op("Conv", [graph.qdq("x"), weight, graph.bias(32)], kernel_shape=[3, 3])
    output = graph.qdq(result, 0.05)
    shapes = {"x": (1, 16, 10, 10)}
    ops = RUNTIME.executed_ops(graph.model(shapes, [output]), feeds_for(shapes))
    types = [op.signature.op_type for op in ops]
    assert [t for t in types if t != "Reorder"] == ["QuantizeLinear", "Convolution", "DequantizeLinear"]
    assert family_of(ops[0].signature) == family_of(ops[-2].signature) == "conversion"
    integer = only(ops, "Convolution").signature
    assert family_of(integer) == "conv_dense_int8"
    assert [t.dtype for t in integer.inputs[:2] if t is not None] == ["uint8", "int8"]


def test_attention_keeps_the_products_it_swallowed() -> None:
    nodes = [
        helper.make_node("Transpose", ["q"], ["qt"], name="qt", perm=[0, 2, 1, 3]),
        helper.make_node("Transpose", ["k"], ["kt"], name="kt", perm=[0, 2, 3, 1]),
        helper.make_node("MatMul", ["qt", "kt"], ["scores"], name="scores"),
        helper.make_node("Softmax", ["scores"], ["shares"], name="softmax"),
        helper.make_node("Transpose", ["v"], ["vt"], name="vt", perm=[0, 2, 1, 3]),
        helper.make_node("MatMul", ["shares", "vt"], ["y"], name="mixed"),
    ]
    ops = executed(nodes, {name: random(1, 64, 4, 32) for name in "qkv"}, {})
    assert sum(multiply_adds(op.signature) for op in ops) == 2 * 4 * 64 * 64 * 32
    assert {"scores", "softmax", "mixed"} <= {source for op in ops for source in op.sources}


def test_attention_written_as_sums_over_indices_keeps_its_products() -> None:
    nodes = [
        helper.make_node("Einsum", ["q", "k"], ["scores"], name="scores", equation="b h l k, b h t k -> b h l t"),
        helper.make_node("Mul", ["scores", "scale"], ["scaled"], name="scale"),
        helper.make_node("Softmax", ["scaled"], ["shares"], name="softmax"),
        helper.make_node("Einsum", ["shares", "v"], ["y"], name="mixed", equation="bhlt,bhtv->bhlv"),
    ]
    weights = {"scale": np.asarray(0.2, np.float32)}
    ops = executed(nodes, {name: random(1, 4, 64, 32) for name in "qkv"}, weights)
    assert sum(multiply_adds(op.signature) for op in ops) == 2 * 4 * 64 * 64 * 32


def test_recurrent_layers_are_one_operator_with_their_weights() -> None:
    node = helper.make_node("LSTM", ["x", "w", "r", "b"], ["y"], name="lstm", hidden_size=16)
    weights = {"w": random(1, 64, 8), "r": random(1, 64, 16), "b": random(1, 128)}
    op = only(executed([node], {"x": random(5, 1, 8)}, weights), "RNNSeq")
    assert op.sources == ("lstm",)
    assert multiply_adds(op.signature) == 5 * (64 * 8 + 64 * 16)
    assert family_of(op.signature) == "recurrent"


def test_sizes_that_depend_on_the_data_are_those_of_the_run() -> None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["where"], name="where"),
        helper.make_node("Transpose", ["where"], ["places"], name="places"),
        helper.make_node("GatherND", ["x", "places"], ["found"], name="found"),
        helper.make_node("Exp", ["found"], ["y"], name="exp"),
    ]
    ops = executed(nodes, {"x": np.maximum(random(4, 5), 0)}, {})
    exp = next(op for op in ops if "exp" in op.sources)
    assert exp.signature.outputs[0].shape == (int((random(4, 5) > 0).sum()),)


def test_control_flow_is_not_skipped() -> None:
    def body(op_type: str) -> onnx.GraphProto:
        result = helper.make_tensor_value_info(f"{op_type}_y", TensorProto.FLOAT, [2, 3])
        return helper.make_graph([helper.make_node(op_type, ["x"], [f"{op_type}_y"])], op_type, [], [result])

    nodes = [
        helper.make_node("ReduceSum", ["x"], ["s"], name="s", keepdims=0),
        helper.make_node("Greater", ["s", "zero"], ["c"], name="c"),
        helper.make_node("If", ["c"], ["y"], name="if", then_branch=body("Relu"), else_branch=body("Neg")),
    ]
    ops = executed(nodes, {"x": random(2, 3)}, {"zero": np.float32(0)})
    branch = only(ops, "If")
    assert branch.sources == ("if",)
    assert family_of(branch.signature) == "other"


def test_nodes_without_a_name_of_their_own_are_told_apart() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a,b"], name="same"),
        helper.make_node("Relu", ["a,b"], ["c"], name="same"),
        helper.make_node("Conv", ["c", "w2"], ["y"]),
    ]
    ops = executed(nodes, {"x": random(2, 3, 8, 8)}, {"w": random(4, 3, 3, 3), "w2": random(4, 4, 1, 1)})
    first, second = (op for op in ops if op.signature.op_type == "Convolution")
    assert first.sources == ("same",)
    assert second.sources == ("y",)
    assert len({op.name for op in ops}) == len(ops)


def test_zeros_among_the_weights_are_part_of_the_signature() -> None:
    weight = random(64, 64)
    weight[:48] = 0
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    assert only(executed([node], {"x": random(8, 64)}, {"w": weight}), "FullyConnected").signature.sparsity == 0.75


def test_a_reorder_that_moves_nothing_is_free() -> None:
    """A global pool writes channels last; one pixel of them is in order already."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("GlobalAveragePool", ["c"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["y"], name="flatten"),
    ]
    ops = executed(nodes, {"x": random(1, 3, 8, 8)}, {"w": random(16, 3, 3, 3)})
    assert [op.sources[0] for op in ops] == ["conv", "conv", "pool"]


@pytest.mark.parametrize("latency_us", [3.2, 20.7, 400.0])
def test_what_rounding_down_takes_is_given_back(latency_us: float) -> None:
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(200):
        runs = latency_us * (1 + 0.3 * rng.random()) + rng.random(103)
        runs[:3] *= 4  # cold
        warm, account = int(np.floor(runs[:3]).mean()), int(np.floor(runs).mean())
        errors.append(_latency_us(warm, account, 100) - runs[3:].mean())
    assert abs(np.mean(errors)) < 0.1
    assert np.abs(errors).max() < 1.0
