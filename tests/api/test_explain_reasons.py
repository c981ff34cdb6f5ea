"""What is said of single operators: each reason on a small model that has exactly that trouble."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from explain_parts import Rule, evidence_of, executed, float_model, only, reasons
from onnx import helper
from qdq_models import QdqGraph

from autocompress.api.explain import kernels
from autocompress.api.explain.channels import odd_channels
from autocompress.api.explain.executed import CONVERSION, LAYOUT
from autocompress.graph.signature import OpSignature

CONV = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}


def int8_conv(graph: QdqGraph, name: str, c_in: int, c_out: int, **kinds: object) -> str:
    """A convolution of a Dequantize, without the Quantize of its result."""
    weight = graph.weight((c_out, c_in, 3, 3), 0, **kinds)  # type: ignore[arg-type]
    return graph.op("Conv", [name, weight, graph.bias(c_out)], **CONV)[0]


def built(graph: QdqGraph, shape: tuple[int, ...], result: str) -> onnx.ModelProto:
    model = onnx.ModelProto.FromString(graph.model({"x": shape}, [result]))
    return onnx.shape_inference.infer_shapes(model)


def test_a_conversion_is_left_over_where_a_reader_has_no_integer_kernel() -> None:
    graph = QdqGraph()
    y = graph.qdq(int8_conv(graph, graph.qdq("x"), 16, 16))
    (z,) = graph.op("Softplus", [y])
    evidence = evidence_of(built(graph, (1, 16, 8, 8), z))
    found = reasons(evidence)
    (text,) = found["leftover_dequantize"]
    assert text.startswith("leftover conversion: the int8 result of Conv_")
    assert "is read in float by Softplus_" in text
    assert "(onnxruntime has no integer kernel for Softplus)" in text
    assert found["no_integer_kernel"] == ["stays in float: onnxruntime has no integer kernel for Softplus"]
    assert any("the model's input is float" in t for t in found["model_input"])


def test_a_view_in_between_is_looked_through() -> None:
    graph = QdqGraph()
    y = graph.qdq(int8_conv(graph, graph.qdq("x"), 16, 16))
    (flat,) = graph.op("Reshape", [y, graph.constant(np.array([1, -1], np.int64))])
    (z,) = graph.op("Softplus", [flat])
    (text,) = reasons(evidence_of(built(graph, (1, 16, 8, 8), z)))["leftover_dequantize"]
    assert "is read in float by Softplus_" in text


def test_a_float_weight_keeps_a_kernel_float_and_both_sides_are_told() -> None:
    graph = QdqGraph()
    y = graph.qdq(int8_conv(graph, graph.qdq("x"), 16, 16))
    weight = graph.constant(np.random.default_rng(0).standard_normal((16, 16, 3, 3)).astype(np.float32))
    # A Dequantize per channel, so that the runtime does not quantize the weight by itself.
    scale, zero = graph.constant(np.full(16, 0.02, np.float32)), graph.constant(np.full(16, 128, np.uint8))
    dequantize = graph.nodes[-1]
    assert dequantize.op_type == "DequantizeLinear"
    dequantize.input[1], dequantize.input[2] = scale, zero
    dequantize.attribute.append(helper.make_attribute("axis", 1))
    (float_result,) = graph.op("Conv", [y, weight], **CONV)
    z = graph.qdq(float_result)
    last = graph.qdq(int8_conv(graph, z, 16, 16))
    found = reasons(evidence_of(built(graph, (1, 16, 8, 8), last)))
    assert found["stays_float"] == ["stays in float: its weight is float"]
    assert any("(its weight is float)" in text for text in found["leftover_dequantize"])
    (text,) = found["quantize"]
    assert "gives its values in float (its weight is float)" in text


def test_an_activation_before_the_quantize_that_is_not_taken_in_is_named() -> None:
    graph = QdqGraph()
    convolved = int8_conv(graph, graph.qdq("x"), 16, 16)
    bounds = [graph.constant(np.float32(-1.0)), graph.constant(np.float32(1.0))]
    (clipped,) = graph.op("Clip", [convolved, *bounds])
    found = reasons(evidence_of(built(graph, (1, 16, 8, 8), graph.qdq(clipped, scale=0.1))))
    assert found["not_fused"] == [
        "stays in float: its Clip stands before the QuantizeLinear and the runtime did not take it in"
    ]
    assert all("(Clip stands before its QuantizeLinear)" in text for text in found["weight_dequantize"])
    assert len(found["weight_dequantize"]) == 2


def test_an_activation_on_its_own_is_named_with_its_kernel() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["y"], "conv", **CONV),
        helper.make_node("Softplus", ["y"], ["z"], "soft"),
    ]
    shape = {"x": (1, 16, 8, 8)}
    evidence = evidence_of(float_model(nodes, {"w": (16, 16, 3, 3)}, shape, {"z": (1, 16, 8, 8)}))
    (text,) = reasons(evidence)["own_activation"]
    assert text == "Softplus runs on its own: the runtime did not take it into the kernel of Conv conv"


def test_a_residual_add_is_no_activation() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["y"], "conv1", **CONV),
        helper.make_node("Softplus", ["x"], ["s"], "soft"),
        helper.make_node("Mul", ["y", "s"], ["z"], "mul"),
    ]
    evidence = evidence_of(float_model(nodes, {"w": (16, 16, 3, 3)}, {"x": (1, 16, 8, 8)}, {"z": (1, 16, 8, 8)}))
    assert not any("Mul" in text for text in reasons(evidence).get("own_activation", []))


def test_what_the_runtime_reorders_is_named_by_its_neighbours_and_what_the_model_reorders_is_not() -> None:
    graph = QdqGraph()
    last = graph.qdq(int8_conv(graph, graph.qdq("x"), 16, 16))
    evidence = evidence_of(built(graph, (1, 16, 8, 8), last))
    texts = reasons(evidence)["layout_change"]
    assert any("between the model's input and Conv_" in text for text in texts)
    nodes = [helper.make_node("Transpose", ["x"], ["y"], "turn", perm=[0, 2, 1])]
    own = evidence_of(float_model(nodes, {}, {"x": (1, 64, 64)}, {"y": (1, 64, 64)}))
    assert [op.role for op in own.graph.ops] == [LAYOUT]
    assert "layout_change" not in reasons(own)


def test_a_slow_scheme_is_told_with_the_price_of_a_faster_one() -> None:
    def model(dtype: str) -> onnx.ModelProto:
        graph = QdqGraph()
        convolved = int8_conv(graph, graph.qdq("x"), 64, 64, dtype=dtype, per_channel=False)
        return built(graph, (1, 64, 16, 16), graph.qdq(convolved))

    evidence = evidence_of(model("uint8"))
    (text,) = reasons(evidence)["scheme"]
    assert text.startswith("uint8 activations with uint8 weights take a slow kernel here: uint8 with int8 would take ")
    (expected,) = [op.signature for op in executed(model("int8")) if op.signature.op_type == "QLinearConv"]
    assert kernels._with_scheme(only(evidence, "QLinearConv").signature, "uint8", "int8") == expected
    assert "scheme" not in reasons(evidence_of(model("int8")))


def test_what_moves_bytes_only_is_bound_by_memory_and_what_is_tiny_is_small() -> None:
    nodes = [helper.make_node("Softplus", ["x"], ["y"], "soft")]
    large = evidence_of(float_model(nodes, {}, {"x": (1, 1 << 20)}, {"y": (1, 1 << 20)}))
    (text,) = reasons(large)["memory_bound"]
    assert text.startswith("memory-bound: moving its 8.39 MB takes 419 us of 4")
    assert text.endswith("us; int8 can at most save the bytes (4.0x)")
    tiny = evidence_of(float_model(nodes, {}, {"x": (1, 4)}, {"y": (1, 4)}))
    assert reasons(tiny)["small"] == ["small: most of its 2.03 us is the fixed cost of an operator"]


def test_an_integer_kernel_that_does_not_use_its_arithmetic_says_so() -> None:
    graph = QdqGraph()
    weight, bias = graph.weight((64, 1, 3, 3), 0), graph.bias(64)
    (y,) = graph.op("Conv", [graph.qdq("x"), weight, bias], group=64, **CONV)
    evidence = evidence_of(built(graph, (1, 64, 32, 32), graph.qdq(y)), rule=Rule(integer_macs_per_us=8e3))
    (text,) = reasons(evidence)["idle_arithmetic"]
    assert text.startswith("reaches ")
    assert "of 200 GMAC/s (depthwise: no sum over channels" in text


def convolution(c_in: int, c_out: int, group: int = 1) -> onnx.ModelProto:
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["y"], "conv", group=group, **CONV)]
    weights = {"w": (c_out, c_in // group, 3, 3), "b": (c_out,)}
    return float_model(nodes, weights, {"x": (1, c_in, 12, 12)}, {"y": (1, c_out, 12, 12)})


def int8_convolution(c_in: int, c_out: int, group: int = 1) -> onnx.ModelProto:
    graph = QdqGraph()
    weight, bias = graph.weight((c_out, c_in // group, 3, 3), 0), graph.bias(c_out)
    (y,) = graph.op("Conv", [graph.qdq("x"), weight, bias], group=group, **CONV)
    return built(graph, (1, c_in, 12, 12), graph.qdq(y))


def product(c_in: int, c_out: int) -> onnx.ModelProto:
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"], "gemm", transB=1)]
    return float_model(nodes, {"w": (c_out, c_in), "b": (c_out,)}, {"x": (3, c_in)}, {"y": (3, c_out)})


def kernel_of(model: onnx.ModelProto, runtime: str) -> OpSignature:
    from autocompress.runtimes.work import multiply_adds

    return max((op.signature for op in executed(model, runtime)), key=multiply_adds)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    ("make", "odd", "side", "lower", "upper"),
    [
        (convolution, (22, 32), "input", (16, 32), (32, 32)),
        (int8_convolution, (32, 22), "output", (32, 16), (32, 32)),
        (int8_convolution, (22, 32), "input", (16, 32), (32, 32)),
        (lambda n, m: convolution(n, n, n), (22, 22), "all", (16, 16), (32, 32)),
        (lambda n, m: int8_convolution(n, n, n), (22, 22), "all", (16, 16), (32, 32)),
        (product, (32, 22), "output", (32, 16), (32, 32)),
        (product, (22, 32), "input", (16, 32), (32, 32)),
    ],
)
def test_neighbouring_channels_are_priced_as_the_runtime_would_execute_them(make, odd, side, lower, upper, runtime):
    if runtime == "openvino":
        pytest.importorskip("openvino")
    priced: dict[str, OpSignature] = {}

    class Asked(Rule):
        def predict(self, signatures):
            priced.update({s.key: s for s in signatures})
            return super().predict(signatures)

    signature = kernel_of(make(*odd), runtime)
    evidence = evidence_of(make(*odd), runtime, Asked())
    found = {f.side: f for f in odd_channels(signature, evidence.estimator)}
    assert set(found) == {side}
    assert found[side].channels == 22
    assert (found[side].below.channels, found[side].above.channels) == (16, 32)
    for wanted, neighbour in ((lower, found[side].below), (upper, found[side].above)):
        there = kernel_of(make(*wanted), runtime)
        assert neighbour.price.latency_us == pytest.approx(evidence.estimator.price([there])[0].latency_us)
        if runtime == "onnxruntime":  # OpenVINO may choose another kernel for another number of channels
            assert there.key in priced


def test_channels_that_the_runtime_adds_to_fill_its_blocks_are_told() -> None:
    evidence = evidence_of(convolution(32, 22))
    (kernel,) = [op for op in evidence.graph.ops if op.macs]
    computed = kernel.signature.inputs[1].shape[0]
    if computed == 22:
        assert "padded_channels" not in reasons(evidence)  # a processor without blocked kernels
    else:
        (text,) = reasons(evidence)["padded_channels"]
        assert text == f"computes {computed} channels where the model has 22, to fill its blocks"
    assert "padded_channels" not in reasons(evidence_of(convolution(32, 32)))


def test_odd_channels_are_told_with_real_prices() -> None:
    evidence = evidence_of(int8_convolution(32, 22))
    (text,) = reasons(evidence)["channels"]
    signature = only(evidence, "QLinearConv").signature
    (found,) = odd_channels(signature, evidence.estimator)
    assert text.startswith("22 output channels, no multiple of 16: ")
    assert f"16 would take {found.below.price.latency_us:.3g} us (forest, " in text
    assert f"32 would take {found.above.price.latency_us:.3g} us (forest, " in text
    assert not odd_channels(kernel_of(int8_convolution(32, 32), "onnxruntime"), evidence.estimator)


def test_every_conversion_is_recognized_by_its_types_and_every_operator_has_its_neighbours() -> None:
    graph = QdqGraph()
    y = graph.qdq(int8_conv(graph, graph.qdq("x"), 16, 16))
    evidence = evidence_of(built(graph, (1, 16, 8, 8), graph.op("Softplus", [y])[0]))
    ops, run_us = evidence.graph.ops, evidence.estimator.composition.per_model_us
    assert {op.signature.op_type for op in ops if op.role == CONVERSION} == {"QuantizeLinear", "DequantizeLinear"}
    assert [op.integer for op in ops if op.signature.op_type == "QLinearConv"] == [True]
    for before, after in itertools.pairwise(ops):
        assert evidence.graph.reading(before) == [after]
        assert evidence.graph.feeding(after) == [before]
    assert evidence.graph.total_us == pytest.approx(sum(op.price.latency_us for op in ops) + run_us)


def test_every_code_of_a_reason_is_documented_and_no_other() -> None:
    root = Path(__file__).resolve().parents[2]
    sources = "".join(p.read_text() for p in (root / "autocompress" / "api" / "explain").glob("*.py"))
    used = set(re.findall(r'Reason\(\s*"(\w+)"', sources)) | {f"{part}s" for part in (CONVERSION, LAYOUT)}
    table = (root / "docs" / "explain.md").read_text().split("| --- | --- |\n", 1)[1]
    listed = {code for line in table.splitlines() for code in re.findall(r"`(\w+)`", line.split(" | ")[0])}
    assert listed == used
