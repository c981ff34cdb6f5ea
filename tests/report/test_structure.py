"""What is said of layers: counted on stored weights, and set beside those of the original by name."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from autocompress.graph.normalize import normalize
from autocompress.passes.decompose import DecomposeConfig, decompose
from autocompress.passes.decompose import resolve as resolve_factors
from autocompress.passes.prune import PruneConfig, prune
from autocompress.passes.prune import resolve as resolve_units
from autocompress.passes.quantize import FP32, QuantizeConfig, QuantizePayload
from autocompress.passes.sparsify import SparsifyConfig, sparsify
from autocompress.passes.sparsify import resolve as resolve_zeros
from autocompress.recipe.builder import CandidateBuilder
from autocompress.report.structure import LayerPair, layer_facts, side_by_side, totals


def network(dense: int = 10) -> onnx.ModelProto:
    """Two 3x3 convolutions at 8x8, pooling, and a dense layer; the sizes of the input are numbers."""
    rng = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)

    weights = [weight("w1", 16, 3, 3, 3), weight("b1", 16), weight("w2", 24, 16, 3, 3), weight("w3", 24, dense)]
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["a"], "stem", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], "act"),
        helper.make_node("Conv", ["b", "w2"], ["c"], "body", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["d"], "act2"),
        helper.make_node("GlobalAveragePool", ["d"], ["e"], "pool"),
        helper.make_node("Flatten", ["e"], ["f"], "flat"),
        helper.make_node("MatMul", ["f", "w3"], ["y"], "head"),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "y"]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])], values, weights
    )
    return normalize(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def pairs(after: onnx.ModelProto) -> dict[str, LayerPair]:
    return {pair.name: pair for pair in side_by_side(layer_facts(network()), layer_facts(normalize(after)))}


def quantized(config: QuantizeConfig) -> onnx.ModelProto:
    ranges = dict.fromkeys("xabcdefy", (-4.0, 4.0))
    return CandidateBuilder(network(), "onnxruntime", "").quantizer.emit(config, QuantizePayload(ranges, {}))


def test_counts_of_a_float_model() -> None:
    stem, body, head = layer_facts(network())
    assert (stem.inputs, stem.outputs, stem.kernel) == (3, 16, (3, 3))
    assert stem.parameters == 16 * 27 + 16 and body.parameters == 24 * 16 * 9
    assert stem.macs == 64 * 16 * 27 and body.macs == 64 * 24 * 16 * 9 and head.macs == 240
    assert (head.op_type, head.kernel, head.inputs, head.outputs) == ("MatMul", (), 24, 10)
    assert (stem.weight_dtype, stem.activation_dtype, stem.sparsity) == ("float32", "float32", 0.0)
    sums = totals((stem, body, head))
    assert sums.macs == stem.macs + body.macs + head.macs and sums.nonzero == sums.elements == 432 + 3456 + 240


def test_unknown_sizes_leave_multiply_adds_open() -> None:
    model = network()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    stem, *_, head = layer_facts(normalize(model))
    assert stem.macs is None and head.macs == 240 and totals((stem, head)).macs is None


def test_nothing_was_done() -> None:
    found = pairs(network())
    assert list(found) == ["stem", "body", "head"]
    assert all(pair.done == () for pair in found.values())


def test_pruned_channels_are_seen_on_both_sides() -> None:
    config = PruneConfig((("stem", 0.25), ("body", 0.5)))
    found = pairs(prune(network(), config, resolve_units(network(), config)))
    assert found["stem"].done == ("pruned 16 → 12 outputs",)
    assert found["body"].done == ("pruned 24 → 12 outputs", "pruned 16 → 12 inputs")
    assert found["head"].done == ("pruned 24 → 12 inputs",)
    assert found["body"].macs == (64 * 24 * 16 * 9, 64 * 12 * 12 * 9)
    assert found["stem"].parameters == (448, 336)


@pytest.mark.parametrize(
    ("method", "rank", "said", "kernels"),
    [
        ("svd", 12, "decomposed svd, rank 12", [(3, 3), (1, 1)]),
        ("spatial", 8, "decomposed spatial, rank 8", [(3, 1), (1, 3)]),
        ("tucker2", (8, 12), "decomposed tucker2, rank 8x12", [(1, 1), (3, 3), (1, 1)]),
    ],
)
def test_parts_stand_under_the_name_of_their_layer(
    method: str, rank: int | tuple[int, int], said: str, kernels: list[tuple[int, int]]
) -> None:
    config = DecomposeConfig((("body", method, rank),), whitened=False)
    found = pairs(decompose(network(), config, resolve_factors(network(), config)))
    assert list(found) == ["stem", "body", "head"]
    assert found["body"].done == (said,)
    assert [part.kernel for part in found["body"].after] == kernels
    before, after = found["body"].macs
    assert before is not None and after == 64 * sum(part.elements for part in found["body"].after) < before


def test_sparse_weights() -> None:
    config = SparsifyConfig((("body", "2:4"), ("head", "unstructured@0.75")))
    found = pairs(sparsify(network(), config, resolve_zeros(network(), config)))
    assert found["body"].done == ("sparse 2:4",)
    assert found["head"].done == ("75 % zeros",)
    row = found["body"].to_dict()
    assert row["nonzero"] == 24 * 16 * 9 // 2 and row["sparsity"] == 0.5
    assert row["macs_before"] == row["macs_after"]


def test_quantized_layers_say_in_which_numbers() -> None:
    found = pairs(quantized(QuantizeConfig(bias_correction=False, exceptions=(("head", FP32),))))
    assert found["stem"].done == ("quantized int8 per channel",)
    assert found["head"].done == ()
    per_tensor = QuantizeConfig(bias_correction=False, weight_granularity="per_tensor", weight_dtype="uint8")
    assert pairs(quantized(per_tensor))["body"].done == ("quantized uint8 per tensor",)
    assert found["stem"].parameters == (448, 448) and found["stem"].macs[0] == found["stem"].macs[1]


def test_weight_only_and_dynamic_products_keep_their_name() -> None:
    weight_only = QuantizeConfig(bias_correction=False, exceptions=(("head", "int4_weight_only"),))
    dynamic = QuantizeConfig(bias_correction=False, exceptions=(("head", "int8_dynamic"),))
    bits = pairs(quantized(weight_only))["head"]
    assert bits.done == ("quantized uint4 weights in blocks, float activations",) and bits.macs == (240, 240)
    assert pairs(quantized(dynamic))["head"].done == ("quantized dynamic int8 per channel",)


def test_zeros_survive_quantization_in_every_form() -> None:
    config = SparsifyConfig((("body", "2:4"), ("head", "unstructured@0.5")))
    sparse = sparsify(network(), config, resolve_zeros(network(), config))
    ranges = dict.fromkeys("xabcdefy", (-4.0, 4.0))
    for precision in ("int8", "int8_dynamic", "int8_weight_only", "int4_weight_only"):
        quantizer = CandidateBuilder(sparse, "onnxruntime", "").quantizer
        made = QuantizeConfig(bias_correction=False, exceptions=(("head", precision),))
        facts = {f.name: f for f in layer_facts(normalize(quantizer.emit(made, QuantizePayload(ranges, {}))))}
        assert facts["body"].patterns == ("2:4",) and facts["body"].sparsity >= 0.5
        assert facts["head"].sparsity >= 0.5 and facts["head"].elements == 240


def test_what_is_gone_and_what_is_new() -> None:
    before = layer_facts(network())
    gone = side_by_side(before, before[1:])[0]
    assert (gone.name, gone.done, gone.macs[1], gone.to_dict()["sparsity"]) == (
        "stem", ("gone: merged into another layer, or removed",), 0, 0.0,
    )  # fmt: skip
    new = side_by_side(before[:1], before)
    assert [(pair.name, pair.done) for pair in new] == [("stem", ()), ("body", ("new",)), ("head", ("new",))]
