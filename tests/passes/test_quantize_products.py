"""Products with a constant matrix that write float, with the bias behind them left in float."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from autocompress.passes.quantize import FP32, INT8, QuantizeConfig

sys.path.append(str(Path(__file__).parent))
from quantize_models import FloatGraph, Study, executed, reference, run

FLOAT = QuantizeConfig(product_results="float", scope="weighted")


def encoder_block() -> FloatGraph:
    """A feed-forward block: two products with biases, an activation between, a residual."""
    graph = FloatGraph(seed=5)
    x = graph.input("x", 6, 16)
    y = graph.op("Add", graph.op("MatMul", x, graph.random(16, 32)), graph.random(32))
    y = graph.op("Mul", y, graph.op("Sigmoid", y))
    y = graph.op("Add", graph.random(16), graph.op("MatMul", y, graph.random(32, 16)))
    graph.output(graph.op("Add", x, y))
    return graph


def test_no_float_product_and_no_integer_result_is_left() -> None:
    study = Study(encoder_block().model())
    kernels = executed(study.build(FLOAT), study.feeds)
    assert kernels["MatMulIntegerToFloat"] == 2
    assert kernels["QuantizeLinear"] == 2
    assert not {"Gemm", "MatMul", "QLinearMatMul", "QLinearAdd", "DequantizeLinear"} & set(kernels)


def test_results_before_the_bias_are_not_rounded() -> None:
    study = Study(encoder_block().model())

    def error(config: QuantizeConfig) -> float:
        found, expected = run(study.build(config), study.feeds), study.float_outputs()
        return max(float(np.sqrt(np.mean((found[name] - values) ** 2))) for name, values in expected.items())

    assert error(FLOAT) < 0.7 * error(QuantizeConfig())
    candidate = study.build(FLOAT)
    for name, values in reference(candidate, study.feeds).items():
        np.testing.assert_allclose(run(candidate, study.feeds)[name], values, atol=1e-5)


def test_the_choice_overrules_exceptions_so_that_it_fits_any_assignment() -> None:
    study = Study(encoder_block().model())
    names = dict.fromkeys(study.units, INT8)
    precisions = study.builder.quantizer.precisions(
        QuantizeConfig(precision=FP32, product_results="float").with_precisions(names)
    )
    biases = [name for name, unit in study.units.items() if unit.op_type == "Add"][:2]
    assert [precisions[name] for name in biases] == [FP32, FP32]
    assert all(p == INT8 for name, p in precisions.items() if name not in biases)


def test_a_matrix_keeps_its_integer_result() -> None:
    # With two dimensions a bias of any shape is merged with the product.
    graph = FloatGraph(seed=5)
    x = graph.op("MatMul", graph.input("x", 16), graph.random(16, 8))
    graph.output(graph.op("Tanh", graph.op("Add", x, graph.random(8))))
    study = Study(graph.model())
    kernels = executed(study.build(QuantizeConfig(product_results="float")), study.feeds)
    assert kernels["QLinearMatMul"] == 1
    assert not {"Gemm", "MatMul"} & set(kernels)


@pytest.mark.parametrize("shape", [(16,), (1,), (), (1, 16), (6, 16), (1, 6, 16)])
def test_constants_of_every_shape_are_lifted_without_a_change_of_meaning(shape: tuple[int, ...]) -> None:
    graph = FloatGraph(seed=5)
    x = graph.op("MatMul", graph.input("x", 6, 8), graph.random(8, 16))
    graph.output(graph.op("Tanh", graph.op("Add", x, graph.constant(np.full(shape, 0.5, np.float32)))))
    study = Study(graph.model())
    candidate = study.build(FLOAT)
    assert executed(candidate, study.feeds)["MatMulIntegerToFloat"] == 1
    for name, values in study.float_outputs().items():
        np.testing.assert_allclose(run(candidate, study.feeds)[name], values, atol=0.05)


def test_recipes_without_the_new_choices_are_written_as_before() -> None:
    assert set(QuantizeConfig().to_dict()) == {
        "activation_dtype", "activation_symmetric", "activation_range", "weight_dtype", "weight_granularity",
        "weight_range", "bias_correction", "precision", "exceptions",
    }  # fmt: skip
    row = FLOAT.to_dict()
    assert (row["product_results"], row["scope"]) == ("float", "weighted")
    assert QuantizeConfig.from_dict(row) == FLOAT
