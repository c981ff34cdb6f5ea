"""Three computations of one candidate agree: the deployed model, integers in numpy, and its float simulation."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from autocompress.passes.quantize import INT8_DYNAMIC, QuantizeConfig

sys.path.append(str(Path(__file__).parent))
from integer_simulation import simulate
from quantize_models import Arrays, FloatGraph, Study, executed, run, steps, weights_of

Build = Callable[[FloatGraph], None]
ASYMMETRIC = QuantizeConfig()
SYMMETRIC = QuantizeConfig(activation_dtype="int8", activation_symmetric=True, weight_granularity="per_tensor")
UNSIGNED = QuantizeConfig(weight_dtype="uint8", activation_range="percentile")
FOUR_BITS = QuantizeConfig(weight_dtype="int4", weight_range="mse")
CONFIGS = {"asymmetric": ASYMMETRIC, "symmetric": SYMMETRIC, "unsigned": UNSIGNED, "four bits": FOUR_BITS}


def chain(g: FloatGraph) -> None:
    x = g.op("Relu", g.conv(g.input("x", 8, 9, 9), 8, 8))
    x = g.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = g.op("Flatten", g.op("GlobalAveragePool", x))
    g.output(g.op("Add", g.op("MatMul", x, g.random(8, 5)), g.random(5)))


def depthwise(g: FloatGraph) -> None:
    bounds = g.constant(np.float32(0)), g.constant(np.float32(1.5))
    x = g.op("Clip", g.conv(g.input("x", 8, 7, 7), 8, 8, group=8), *bounds)
    g.output(g.conv(x, 8, 8, 1))


def grouped(g: FloatGraph) -> None:
    g.output(g.conv(g.input("x", 8, 7, 7), 8, 8, group=2, bias=False))


def residual(g: FloatGraph) -> None:
    x = g.op("Relu", g.conv(g.input("x", 4, 7, 7), 4, 8))
    g.output(g.op("Relu", g.op("Add", g.conv(x, 8, 8), x)))


def branches(g: FloatGraph) -> None:
    x = g.input("x", 4, 8, 8)
    x = g.op("Concat", g.op("Relu", g.conv(x, 4, 4)), g.conv(x, 4, 4, 1), axis=1)
    g.output(g.op("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2]))


def gemms(g: FloatGraph) -> None:
    x = g.op("Gemm", g.input("x", 16), g.random(12, 16), g.random(12), transB=1)
    g.output(g.op("Gemm", x, g.random(12, 10)))


def products(g: FloatGraph) -> None:
    x = g.op("MatMul", g.input("x", 5, 16), g.random(16, 12))
    g.output(g.op("Transpose", g.op("Add", g.op("MatMul", x, g.random(12, 6)), g.random(6)), perm=[0, 2, 1]))


KINDS: dict[str, Build] = {f.__name__: f for f in (chain, depthwise, grouped, residual, branches, gemms, products)}


def study_of(kind: str) -> Study:
    graph = FloatGraph(seed=sum(map(ord, kind)))
    KINDS[kind](graph)
    return Study(graph.model())


def simulation(study: Study, config: QuantizeConfig) -> onnx.ModelProto:
    payload = study.freeze(config).payload
    assert payload is not None
    model = study.builder.quantizer.emit(config, payload, simulate=True)
    onnx.checker.check_model(model, full_check=True)
    return model


def in_steps(found: Arrays, wanted: Arrays, step: dict[str, float]) -> float:
    """Largest difference, in steps of the output (or in ten-thousandths of a float result)."""
    return max(
        float(np.abs(values - wanted[name]).max() / step.get(name, 1e-4 * float(np.abs(wanted[name]).max())))
        for name, values in found.items()
    )


@pytest.mark.parametrize(("kind", "scheme"), list(itertools.product(KINDS, CONFIGS)))
def test_deployed_integers_and_simulation_agree(kind: str, scheme: str) -> None:
    study, config = study_of(kind), CONFIGS[scheme]
    candidate = study.build(config)
    found, step = run(candidate, study.feeds), steps(candidate)
    assert in_steps(found, simulate(candidate, study.feeds), step) <= 1.001
    fake = simulation(study, config)
    assert not {"QuantizeLinear", "DequantizeLinear"} & {node.op_type for node in fake.graph.node}
    assert in_steps(found, run(fake, study.feeds), step) <= 1.001
    # Agreement is no accident: the float model is far away.
    assert in_steps(found, study.float_outputs(), step) > 1.5 or scheme != "four bits"


@pytest.mark.parametrize("kind", ["chain", "depthwise", "gemms"])
def test_four_bit_weights_are_stored_in_four_bits_and_computed_in_integers(kind: str) -> None:
    study = study_of(kind)
    candidate = study.build(FOUR_BITS)
    packed = [w for w in candidate.graph.initializer if w.data_type == onnx.TensorProto.INT4]
    assert len(packed) == sum(unit.weight is not None for unit in study.units.values())
    assert all(len(w.raw_data) == -(-int(np.prod(w.dims)) // 2) for w in packed)
    kernels = executed(candidate, study.feeds)
    assert kernels == executed(study.build(), study.feeds)
    levels = {name: values for name, values in weights_of(candidate).items() if name.endswith("_packed")}
    assert all(np.abs(values.astype(int)).max() == 7 for values in levels.values())


@pytest.mark.parametrize("dtype", ["uint16", "int16"])
def test_sixteen_bit_activations_lose_next_to_nothing(dtype: str) -> None:
    study = study_of("residual")
    config = QuantizeConfig(activation_dtype=dtype, activation_symmetric=dtype == "int16", bias_correction=False)
    found = run(study.build(config), study.feeds)
    fake = run(simulation(study, config), study.feeds)
    exact = run(simulation(study, replace(config, activation_dtype="uint8", activation_symmetric=False)), study.feeds)
    for name, values in study.float_outputs().items():
        np.testing.assert_allclose(found[name], fake[name], atol=2e-4 * float(np.abs(values).max()))
        assert np.abs(fake[name] - values).mean() < np.abs(exact[name] - values).mean()
    assert all("int8" not in options for options in study.builder.quantizer.options(config).values())


@pytest.mark.parametrize("dtype", ["int8", "int4", "uint4"])
def test_blocks_of_weights(dtype: str) -> None:
    graph = FloatGraph(seed=8)
    x = graph.op("Relu", graph.conv(graph.input("x", 64, 5, 5), 64, 32))
    x = graph.op("Flatten", graph.op("GlobalAveragePool", x))
    graph.output(graph.op("Gemm", x, graph.random(32, 10), graph.random(10)))
    study = Study(graph.model())
    config = QuantizeConfig(weight_dtype=dtype, weight_granularity="per_block")
    found, fake = (run(m, study.feeds) for m in (study.build(config), simulation(study, config)))
    whole = run(simulation(study, replace(config, weight_granularity="per_tensor")), study.feeds)
    for name, values in study.float_outputs().items():
        np.testing.assert_allclose(found[name], fake[name], atol=0.01 * float(np.abs(values).max()))
        assert np.abs(fake[name] - values).mean() < np.abs(whole[name] - values).mean()


def test_dynamic_quantization_is_simulated_too() -> None:
    graph = FloatGraph(seed=4)
    x = graph.input("x", 16)
    graph.output(graph.op("MatMul", x, graph.random(16, 8)), graph.op("MatMul", x, graph.random(16, 4)))
    study = Study(graph.model())
    config = QuantizeConfig(precision=INT8_DYNAMIC)
    found, fake = (run(m, study.feeds) for m in (study.build(config), simulation(study, config)))
    for name, values in found.items():
        np.testing.assert_allclose(values, fake[name], atol=1e-5 * float(np.abs(values).max()))
    silent = {"x": np.zeros_like(study.feeds["x"])}
    assert all(not values.any() for values in run(simulation(study, config), silent).values())


def test_given_integers_take_the_place_of_the_nearest() -> None:
    study = study_of("gemms")
    payload = study.freeze().payload
    assert payload is not None
    (unit, *_) = study.units.values()
    nearest = study.builder.quantizer.quantized_weight(unit, ASYMMETRIC)
    moved = replace(payload, integers={str(unit.weight): np.clip(nearest.values + 1, -127, 127).astype(np.int8)})
    emitted = study.builder.quantizer.emit(ASYMMETRIC, moved)
    stored = weights_of(emitted)[f"{unit.name}_weight_quantized"]
    np.testing.assert_array_equal(stored, moved.integers[str(unit.weight)])
    np.testing.assert_array_equal(
        weights_of(study.build())[f"{unit.name}_weight_quantized"], nearest.values
    )  # what is shared between recipes is not changed
    from autocompress.errors import RecipeError

    for wrong in (nearest.values[:1], nearest.values.astype(np.int16)):
        with pytest.raises(RecipeError, match="int8 of shape"):
            study.builder.quantizer.emit(ASYMMETRIC, replace(payload, integers={str(unit.weight): wrong}))
