"""Which pieces of a graph may be quantized, and which must not be touched."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from autocompress.calibration.statistics import Statistics
from autocompress.errors import RecipeError
from autocompress.passes.quantize import FP32, INT8, INT8_DYNAMIC, QuantizeConfig, QuantizePayload
from autocompress.recipe.builder import CandidateBuilder, prepare
from autocompress.recipe.recipe import Recipe

sys.path.append(str(Path(__file__).parent))
from quantize_models import FloatGraph, Study, executed, reference, run, weights_of


def test_units_take_their_activation_along() -> None:
    graph = FloatGraph()
    zero, six, one = (graph.constant(np.float32(v)) for v in (0, 6, 1))
    x = graph.op("Relu", graph.conv(graph.input("x", 4, 6, 6), 4, 4), out="relu")
    x = graph.op("Clip", graph.conv(x, 4, 4), zero, six, out="clip")
    x = graph.op("Clip", graph.conv(x, 4, 4), one, six, out="clip_from_one")
    x = graph.op("Relu", graph.op("Add", x, x), out="sum")
    graph.output(graph.conv(x, 4, 2, out="y", bias=False))
    units = Study(graph.model()).units
    assert {name: unit.nodes for name, unit in units.items()} == {
        "Conv_0": ("Conv_0", "Relu_1"),
        "Conv_2": ("Conv_2", "Clip_3"),
        "Conv_4": ("Conv_4",),
        "Add_6": ("Add_6", "Relu_7"),
        "Conv_8": ("Conv_8",),
    }
    assert (units["Conv_0"].output, units["Conv_4"].output, units["Add_6"].output) == ("relu", "t4", "sum")
    assert units["Add_6"].inputs == ("clip_from_one",)
    assert units["Conv_0"].weight is not None
    assert units["Conv_0"].bias is not None
    assert units["Conv_8"].bias is None
    assert units["Add_6"].weight is None
    assert all(unit.options == (FP32, INT8) for unit in units.values())


def test_an_activation_that_others_see_past_is_not_fused() -> None:
    graph = FloatGraph()
    x = graph.conv(graph.input("x", 4, 6, 6), 4, 4)
    graph.output(graph.op("Relu", x), graph.op("Exp", x))
    (unit,) = Study(graph.model()).units.values()
    assert unit.nodes == ("Conv_0",)


def test_integers_and_truth_values_are_never_quantized() -> None:
    graph = FloatGraph()
    ids = graph.input("ids", 5, kind=TensorProto.INT64)
    embedded = graph.op("Gather", graph.random(4, 8), ids)
    shifted = graph.op("Add", ids, graph.constant(np.array(1, np.int64)))
    both = graph.op("Concat", ids, shifted, axis=1)
    x = graph.op("MatMul", embedded, graph.random(8, 8))
    best = graph.op("ArgMax", x, axis=-1)
    graph.output(x, both, best)
    study = Study(graph.model())
    assert list(study.units) == ["MatMul_3"]
    candidate = study.build()
    found, expected = run(candidate, study.feeds), reference(candidate, study.feeds)
    assert found["t2"].dtype == np.int64
    np.testing.assert_array_equal(found["t2"], study.float_outputs()["t2"])
    np.testing.assert_allclose(found["t3"], expected["t3"], rtol=1e-4, atol=1e-5)
    quantized = {node.input[0] for node in candidate.graph.node if node.op_type == "QuantizeLinear"}
    assert not quantized & {"ids", "t1", "t2", "t4"}


@pytest.mark.parametrize(
    ("shape", "attributes", "bias"),
    [
        ((5, 12), {"transB": 1, "alpha": 0.5}, (5,)),
        ((12, 5), {"beta": 2.0}, (5,)),
        ((12, 5), {}, (1,)),
        ((12, 5), {}, (8, 5)),
    ],
)
def test_a_gemm_that_no_integer_kernel_computes_stays_float(
    shape: tuple[int, ...], attributes: dict[str, float], bias: tuple[int, ...]
) -> None:
    graph = FloatGraph()
    graph.output(graph.op("Gemm", graph.input("x", 12), graph.random(*shape), graph.random(*bias), **attributes))
    builder = CandidateBuilder(prepare(graph.model()), "onnxruntime", "")
    assert builder.quantizer.units == ()


def test_weights_computed_by_the_graph_stay_float() -> None:
    graph = FloatGraph()
    weight = graph.op("Sigmoid", graph.input("w", 4, 3, 3))
    x = graph.conv(graph.input("x", 4, 6, 6), 4, 4)
    graph.output(graph.op("Conv", x, weight, kernel_shape=[3, 3], pads=[1] * 4))
    feeds = {
        "x": np.random.default_rng(0).standard_normal((4, 4, 6, 6)).astype(np.float32),
        "w": np.random.default_rng(1).standard_normal((4, 4, 3, 3)).astype(np.float32),
    }
    study = Study(graph.model(), feeds)
    assert set(study.units) == {"Sigmoid_0", "Conv_1"}
    candidate = study.build()
    found, expected = run(candidate, feeds)["t2"], reference(candidate, feeds)["t2"]
    assert np.abs(found - expected).max() < 1e-4


def test_masks_of_minus_infinity_stay_float_up_to_the_softmax() -> None:
    graph = FloatGraph(seed=2)
    x = graph.input("x", 4, 8)
    scores = graph.op("MatMul", x, graph.op("Transpose", x, perm=[0, 2, 1]))
    mask = graph.constant(np.triu(np.full((4, 4), -np.inf, np.float32), 1))
    shares = graph.op("Softmax", graph.op("Add", scores, mask), axis=-1)
    graph.output(graph.op("MatMul", shares, graph.random(4, 3)))
    study = Study(graph.model())
    assert set(study.units) == {"MatMul_1", "MatMul_4"}
    candidate = study.build()
    found, expected = run(candidate, study.feeds)["t4"], study.float_outputs()["t4"]
    assert np.isfinite(found).all()
    assert 0 < np.abs(found - expected).max() < 0.05


def test_a_weight_that_is_not_finite_stays_float() -> None:
    graph = FloatGraph()
    weight = np.ones((2, 4, 1, 1), np.float32)
    weight[0, 0] = np.nan
    x = graph.conv(graph.input("x", 4, 3, 3), 4, 4)
    graph.output(x, graph.op("Conv", x, graph.constant(weight)))
    assert list(Study(graph.model()).units) == ["Conv_0"]


def test_empty_constants_and_weights_stay_float() -> None:
    graph = FloatGraph()
    x = graph.input("x", 4)
    empty = graph.op("MatMul", x, graph.constant(np.zeros((4, 0), np.float32)))
    graph.output(graph.op("Add", empty, graph.constant(np.zeros((1, 0), np.float32))), graph.op("Sigmoid", x))
    assert list(Study(graph.model()).units) == ["Sigmoid_2"]


def test_unknown_units_and_impossible_precisions_are_refused() -> None:
    graph = FloatGraph()
    graph.output(graph.conv(graph.input("x", 4, 6, 6), 4, 4))
    study = Study(graph.model())
    with pytest.raises(RecipeError, match=r"unit 'Conv_9', which this model does not have"):
        study.freeze(QuantizeConfig().with_precisions({"Conv_9": FP32}))
    with pytest.raises(RecipeError, match=r"unit 'Conv_0' \(Conv\) cannot be int8_dynamic"):
        study.freeze(QuantizeConfig().with_precisions({"Conv_0": INT8_DYNAMIC}))


def test_a_default_that_a_unit_cannot_have_leaves_it_float() -> None:
    graph = FloatGraph()
    x = graph.op("Flatten", graph.conv(graph.input("x", 4, 3, 3), 4, 4))
    graph.output(graph.op("MatMul", x, graph.random(36, 5)))
    study = Study(graph.model())
    config = QuantizeConfig(precision=INT8_DYNAMIC)
    assert study.builder.quantizer.precisions(config) == {"Conv_0": FP32, "MatMul_2": INT8_DYNAMIC}
    assert set(executed(study.build(config), study.feeds)) == {"Conv", "Flatten", "DynamicQuantizeMatMul"} | {
        op for op in executed(study.model, study.feeds) if op.startswith("Reorder")
    }


def test_missing_statistics_and_ranges_are_named() -> None:
    graph = FloatGraph()
    graph.output(graph.conv(graph.input("x", 4, 6, 6), 4, 4))
    study = Study(graph.model())
    with pytest.raises(RecipeError, match="no calibration statistics for tensor"):
        study.builder.freeze(Recipe(QuantizeConfig()), Statistics({"x": study.statistics["x"]}, 8))
    with pytest.raises(RecipeError, match="carries no range for 1 tensors"):
        study.builder.quantizer.emit(QuantizeConfig(), QuantizePayload({"x": (-1.0, 1.0)}))


@pytest.mark.parametrize("bias", [np.zeros(3, np.float32), np.array([0, 1, np.nan, 0], np.float32)])
def test_a_bias_that_does_not_fit_is_refused(bias: np.ndarray) -> None:
    graph = FloatGraph()
    graph.output(graph.conv(graph.input("x", 4, 6, 6), 4, 4))
    study = Study(graph.model())
    payload = QuantizePayload(study.freeze().payload.ranges, {"Conv_0": bias})
    with pytest.raises(RecipeError, match="bias for unit 'Conv_0' is not 4 finite numbers"):
        study.builder.quantizer.emit(QuantizeConfig(), payload)


def test_range_algorithms_reach_the_graph() -> None:
    graph = FloatGraph()
    graph.output(graph.op("Sigmoid", graph.input("x", 400)))
    study = Study(graph.model())
    scales = {
        name: float(weights_of(study.build(QuantizeConfig(activation_range=name)))["x_scale"])
        for name in ("min_max", "percentile", "mse", "moving_average")
    }
    values = study.feeds["x"]
    assert scales["min_max"] == pytest.approx((values.max() - values.min()) / 255, rel=1e-6)
    assert len(set(scales.values())) == 4
    assert all(0 < scale <= scales["min_max"] for scale in scales.values())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("activation_dtype", "uint32"),
        ("activation_symmetric", 1),
        ("activation_range", "histogram"),
        ("weight_dtype", "int3"),
        ("weight_granularity", "per_row"),
        ("weight_range", "min-max"),
        ("bias_correction", "yes"),
        ("precision", "fp16"),
        ("exceptions", {"a": "int4"}),
        ("exceptions", ["a"]),
        ("activation_type", "uint8"),
    ],
)
def test_configurations_are_checked(field: str, value: object) -> None:
    with pytest.raises(RecipeError, match=r"^quantize step: [^\n]*$"):
        QuantizeConfig.from_dict({field: value})


def test_configurations_are_canonical() -> None:
    plain = QuantizeConfig(exceptions=(("b", FP32), ("a", FP32)))
    redundant = QuantizeConfig(exceptions=(("c", INT8), ("a", FP32), ("b", FP32)))
    assert plain == redundant == QuantizeConfig().with_precisions({"a": FP32, "b": FP32, "c": INT8})
    assert plain.exceptions == (("a", FP32), ("b", FP32))
    assert QuantizeConfig.from_dict(plain.to_dict()) == plain
    assert (plain.precision_of("a"), plain.precision_of("c")) == (FP32, INT8)
    assert dataclasses.replace(plain, precision=FP32).exceptions == ()


def test_the_given_graph_keeps_its_interface() -> None:
    graph = FloatGraph()
    graph.output(graph.conv(graph.input("x", 4, 6, 6), 4, 4, out="named"))
    study = Study(graph.model())
    candidate = study.build()
    for before, after in (
        (study.model.graph.input, candidate.graph.input),
        (study.model.graph.output, candidate.graph.output),
    ):
        assert [v.name for v in before] == [v.name for v in after]
        assert [v.type.tensor_type.elem_type for v in after] == [onnx.TensorProto.FLOAT]
    assert [dim.dim_param for dim in candidate.graph.input[0].type.tensor_type.shape.dim][:1] == ["n"]
