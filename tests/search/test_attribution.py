"""Executed operators are given to the units they stand for, on the runtime's own optimized graphs."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from autocompress.passes.quantize import FP32, INT8, INT8_DYNAMIC, QuantizeConfig
from autocompress.recipe.builder import CandidateBuilder, prepare
from autocompress.runtimes import get_runtime
from autocompress.runtimes.protocol import ExecutedOp
from autocompress.search.attribution import attribute_ops, is_boundary
from autocompress.search.boundaries import find_boundaries, int8_units
from autocompress.search.regions import find_regions

sys.path.append(str(Path(__file__).parents[1] / "passes"))
from quantize_models import FloatGraph, Study


def network() -> Study:
    """Convolutions with Relu, a SiLU, a residual Add with Relu, pools, a Concat, and products at the end."""
    graph = FloatGraph(seed=2)
    x = graph.op("Relu", graph.conv(graph.input("x", 4, 8, 8), 4, 16), out="stem")
    y = graph.conv(x, 16, 16)
    y = graph.op("Mul", y, graph.op("Sigmoid", y), out="silu")
    y = graph.op("Relu", graph.op("Add", graph.conv(y, 16, 16), x), out="sum")
    y = graph.op("Concat", graph.op("MaxPool", y, kernel_shape=[3, 3], pads=[1] * 4), graph.conv(y, 16, 16, 1), axis=1)
    y = graph.op("Flatten", graph.op("GlobalAveragePool", y), out="flat")
    y = graph.op("Relu", graph.op("Gemm", y, graph.random(32, 12), graph.random(12)))
    graph.output(graph.op("Tanh", graph.op("MatMul", y, graph.random(12, 5), out="product")))
    return Study(graph.model())


@pytest.fixture(scope="module")
def study() -> Study:
    return network()


def executed(study: Study, config: QuantizeConfig) -> list[ExecutedOp]:
    feeds = {"x": study.feeds["x"][:1]}
    model = study.build(config).SerializeToString()
    return list(get_runtime("onnxruntime").executed_ops(model, feeds, standalone=False))


def owners(study: Study, config: QuantizeConfig) -> list[tuple[str, str | None]]:
    units = study.builder.quantizer.units
    ops = executed(study, config)
    found = attribute_ops(ops, units)
    return [(op.signature.op_type, None if i is None else units[i].name) for op, i in zip(ops, found, strict=True)]


def kind(kernel: str) -> str:
    for op_type in ("GlobalAveragePool", "Conv", "Gemm", "MatMul", "Add", "Mul", "Sigmoid", "Concat"):
        if op_type in kernel:
            return op_type
    return kernel


@pytest.mark.parametrize("precision", [FP32, INT8, INT8_DYNAMIC])
def test_every_weighted_unit_has_its_own_kernel(study: Study, precision: str) -> None:
    found = owners(study, QuantizeConfig(precision=precision))
    weighted = {name: unit.op_type for name, unit in study.units.items() if unit.weight is not None}
    kernels = [(kernel, owner) for kernel, owner in found if kind(kernel) in ("Conv", "Gemm", "MatMul")]
    assert sorted(str(owner) for _, owner in kernels) == sorted(weighted)
    for kernel, owner in kernels:
        assert weighted[str(owner)] in kernel or {weighted[str(owner)], kind(kernel)} <= {"Gemm", "MatMul"}


def test_in_int8_every_unit_has_a_kernel_of_its_type(study: Study) -> None:
    found = owners(study, QuantizeConfig())
    owned = {owner: kernel for kernel, owner in found if owner is not None}
    assert set(owned) == set(study.units)
    assert all(
        study.units[name].op_type in kernel or kernel == "MatMulIntegerToFloat" for name, kernel in owned.items()
    )


def test_conversions_and_float_operators_belong_to_nobody(study: Study) -> None:
    mixed = QuantizeConfig().with_precisions(dict.fromkeys(list(study.units)[::2], FP32))
    for config in (QuantizeConfig(), mixed):
        ops = executed(study, config)
        for op, owner in zip(ops, attribute_ops(ops, study.builder.quantizer.units), strict=True):
            if op.signature.op_type in ("QuantizeLinear", "DequantizeLinear", "Transpose", "ReorderInput"):
                assert is_boundary(op)
                assert owner is None
            if op.signature.op_type in ("Tanh", "Flatten"):
                assert owner is None
                assert not is_boundary(op)


def test_mixed_precision_keeps_every_kernel_with_its_unit(study: Study) -> None:
    rng = np.random.default_rng(0)
    for _ in range(6):
        chosen = {name: str(rng.choice(unit.options)) for name, unit in study.units.items()}
        found = owners(study, QuantizeConfig().with_precisions(chosen))
        for kernel, owner in found:
            if kind(kernel) in ("Conv", "Gemm") and owner is not None:
                assert ("QLinear" in kernel or "QGemm" in kernel) == (chosen[owner] == INT8)
        owned = {owner for _, owner in found}
        assert {name for name, unit in study.units.items() if unit.weight is not None} <= owned


def test_regions_gather_what_converts_for_nothing(study: Study) -> None:
    regions = find_regions(study.builder.quantizer.units)
    assert {region.name: [unit.op_type for unit in region.units] for region in regions} == {
        "Conv_0": ["Conv"],
        "Conv_2": ["Conv", "Sigmoid", "Mul"],
        "Conv_5": ["Conv"],
        "Add_6": ["Add"],
        "Conv_9": ["Conv"],
        "Concat_10": ["Concat", "GlobalAveragePool"],
        "Gemm_13": ["Gemm"],
        "MatMul_15": ["MatMul"],
    }
    assert [unit.name for region in regions for unit in region.units] != []
    assert regions[1].outputs == {"t2", "t3", "silu"}


def test_what_control_flow_reads_is_read_in_float() -> None:
    graph = FloatGraph(seed=3)
    x = graph.conv(graph.input("x", 4, 6, 6), 4, 4, out="captured")
    bodies = [
        helper.make_graph(
            [helper.make_node("Neg", ["captured"], [result], name=result)],
            result,
            [],
            [helper.make_tensor_value_info(result, TensorProto.FLOAT, None)],
        )
        for result in ("first", "second")
    ]
    chosen = graph.op("ReduceMax", graph.input("chosen", kind=TensorProto.INT32), keepdims=0)
    chosen = graph.op("Cast", chosen, to=TensorProto.BOOL)
    y = graph.op("If", chosen, then_branch=bodies[0], else_branch=bodies[1])
    graph.output(graph.conv(y, 4, 4), graph.conv(x, 4, 4))
    builder = CandidateBuilder(prepare(graph.model()), "onnxruntime", "")
    regions = find_regions(builder.quantizer.units)
    found = {b.tensor: b for b in find_boundaries(builder.prepared, regions, builder.rules, {})}
    assert found["captured"].float_reader
    assert len(found["captured"].consumers) == 1


def test_boundaries_connect_regions(study: Study) -> None:
    regions = find_regions(study.builder.quantizer.units)
    position = {region.name: i for i, region in enumerate(regions)}
    elements = {name: stats.count // stats.samples for name, stats in study.statistics.items()}
    found = {b.tensor: b for b in find_boundaries(study.builder.prepared, regions, study.builder.rules, elements)}

    def readers(tensor: str) -> set[str]:
        return {regions[i].name for i in found[tensor].consumers}

    assert (found["x"].producer, readers("x"), found["x"].elements) == (-1, {"Conv_0"}, 4 * 8 * 8)
    assert found["stem"].producer == position["Conv_0"]
    assert readers("stem") == {"Conv_2", "Add_6"}
    assert readers("sum") == {"Conv_9", "Concat_10"}  # one of them through the MaxPool
    assert readers("silu") == {"Conv_5"}
    assert {"t2", "t3"}.isdisjoint(found)  # inside a region
    assert found["product"].float_reader
    assert not found["stem"].float_reader
    assert sum("Gemm_13" in readers(tensor) for tensor in found) == 1  # the pool's result, through Flatten


def written_float(study: Study, config: QuantizeConfig) -> dict[str, bool]:
    quantizer, rules = study.builder.quantizer, study.builder.rules
    regions = find_regions(quantizer.units)
    found = find_boundaries(study.builder.prepared, regions, rules, {}, int8_units(quantizer, regions, config))
    return {boundary.tensor: boundary.written_float for boundary in found if boundary.producer >= 0}


def test_what_kernels_write_in_float_for_nothing(study: Study) -> None:
    found = written_float(study, QuantizeConfig())
    assert {name for name, free in found.items() if free} == {"product"}
    graph = FloatGraph(3)
    x = graph.op("MatMul", graph.input("x", 5, 8), graph.random(8, 8))
    x = graph.op("Tanh", graph.op("Add", x, graph.random(8), out="biased"))
    graph.output(graph.op("Mul", x, graph.op("Sigmoid", x, out="gate"), out="gated"))
    other = Study(graph.model())
    assert written_float(other, QuantizeConfig()) == {"biased": False, "gate": False, "gated": False}
    # The Add of the bias is float then, and reads what the product writes.
    assert written_float(other, QuantizeConfig(product_results="float")) == {
        "t0": True, "gate": False, "gated": False,
    }  # fmt: skip
    assert written_float(other, QuantizeConfig(product_results="float", scope="weighted")) == {"t0": True}
