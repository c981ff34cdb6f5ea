"""Reconstruction layer by layer: better than nearest rounding, measured on real runs."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autocompress.errors import DataError
from autocompress.passes.quantize import INT4_WEIGHT_ONLY, QuantizeConfig
from autocompress.passes.reconstruct import ReconstructConfig, ReconstructPayload, resolve
from autocompress.passes.reconstruct.layer import RowReader

sys.path.append(str(Path(__file__).parent))
from quantize_models import FloatGraph, Study, run
from reconstruct_models import (
    QUICK,
    W4A8,
    candidate,
    correlated,
    in_batches,
    layer_study,
    output_error,
    quantize_payload,
    reconstruct,
)

pytest.importorskip("torch").set_num_threads(1)
KINDS = ["conv", "strided", "grouped", "depthwise", "gemm", "matmul"]
FLOAT_RESULTS = replace(W4A8, activation_dtype="uint16")
GPTQ = replace(QUICK, method="gptq")


@pytest.mark.parametrize("activation", ["", "Relu", "relu6"])
@pytest.mark.parametrize("kind", KINDS)
def test_adaround_is_better_than_nearest_rounding(kind: str, activation: str) -> None:
    study = layer_study(kind, activation=activation)
    tensor = study.model.graph.output[0].name
    # 16-bit activations leave the weight's rounding as the only error.
    found = reconstruct(study, FLOAT_RESULTS)
    before = output_error(study, candidate(study, FLOAT_RESULTS, ReconstructPayload()), tensor)
    after = output_error(study, candidate(study, FLOAT_RESULTS, found), tensor)
    assert after < 0.8 * before
    (error,) = found.errors.values()
    assert error.reconstructed <= error.nearest
    np.testing.assert_allclose(error.reconstructed, after, rtol=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_gptq_is_better_than_nearest_rounding(kind: str) -> None:
    study = layer_study(kind)
    tensor = study.model.graph.output[0].name
    found = reconstruct(study, FLOAT_RESULTS, GPTQ)
    before = output_error(study, candidate(study, FLOAT_RESULTS, ReconstructPayload()), tensor)
    assert output_error(study, candidate(study, FLOAT_RESULTS, found), tensor) < 0.8 * before


@pytest.mark.parametrize("method", ["adaround", "gptq"])
@pytest.mark.parametrize("regularization", [1e-6, 1e6])
def test_no_setting_makes_it_worse_than_nearest(method: str, regularization: float) -> None:
    study = layer_study("conv", activation="Relu")
    tensor = study.model.graph.output[0].name
    bad = replace(QUICK, method=method, iterations=3, learning_rate=30.0, regularization=regularization, damping=1e4)
    quantize = replace(FLOAT_RESULTS, bias_correction=False)
    found = reconstruct(study, quantize, bad)
    before = output_error(study, candidate(study, quantize, ReconstructPayload()), tensor)
    assert output_error(study, candidate(study, quantize, found), tensor) <= before * (1 + 1e-4)


def test_integers_stay_on_the_grid_next_to_the_weight() -> None:
    study = layer_study("conv")
    found = reconstruct(study)
    ((name, integers),) = found.integers.items()
    unit = study.units["Conv_0"]
    nearest = study.builder.quantizer.quantized_weight(unit, W4A8)
    assert integers.dtype == nearest.values.dtype
    assert integers.min() >= -7 and integers.max() <= 7
    assert np.abs(integers.astype(int) - nearest.values).max() == 1
    assert name == unit.weight


def test_later_layers_make_up_for_earlier_ones() -> None:
    """The second layer sees what the first, already rounded, feeds to it, and aims at the float model's output."""
    rng = np.random.default_rng(5)
    graph = FloatGraph(seed=5)
    x = graph.op("Relu", graph.conv(graph.input("x", 8, 7, 7), 8, 8))
    graph.output(graph.conv(x, 8, 8))
    study = Study(graph.model(), {"x": correlated(rng, 32, 8, 7, 7)})
    tensor = study.model.graph.output[0].name
    found = reconstruct(study)
    both = output_error(study, candidate(study, W4A8, found), tensor)
    np.testing.assert_allclose(found.errors["Conv_2"].reconstructed, both, rtol=0.1)
    first_only = ReconstructPayload({"k0": found.integers["k0"]}, {"Conv_0": found.biases["Conv_0"]})
    assert both < 0.8 * output_error(study, candidate(study, W4A8, first_only), tensor)
    assert both < 0.6 * output_error(study, candidate(study, W4A8, ReconstructPayload()), tensor)


def test_the_deployed_model_has_the_integers_found() -> None:
    study = layer_study("conv", activation="Relu")
    int8 = QuantizeConfig()
    found = reconstruct(study, int8)
    deployed = study.builder.quantizer.emit(int8, found.applied_to(quantize_payload(study, int8)))
    stored = [w for w in deployed.graph.initializer if w.name == "Conv_0_weight_quantized"]
    np.testing.assert_array_equal(np.frombuffer(stored[0].raw_data, np.int8), found.integers["k0"].reshape(-1))
    simulated = candidate(study, int8, found)
    tensor = study.model.graph.output[0].name
    np.testing.assert_allclose(run(deployed, study.feeds)[tensor], run(simulated, study.feeds)[tensor], atol=0.05)


@pytest.mark.parametrize("method", ["adaround", "gptq"])
@pytest.mark.parametrize("symmetric", [True, False])
def test_weight_only_blocks(method: str, symmetric: bool) -> None:
    rng = np.random.default_rng(4)
    graph = FloatGraph(seed=4)
    x = graph.op("MatMul", graph.input("x", 5, 64), graph.random(64, 48))
    graph.output(
        graph.op(
            "Gemm", graph.op("Reshape", x, graph.constant(np.array([-1, 48]))), graph.random(48, 7), graph.random(7)
        )
    )
    study = Study(graph.model(), {"x": correlated(rng, 40 * 5, 64).reshape(40, 5, 64)})
    config = QuantizeConfig(precision=INT4_WEIGHT_ONLY, weight_only_symmetric=symmetric)
    found = reconstruct(study, config, replace(QUICK, method=method))
    tensor = study.model.graph.output[0].name
    before = output_error(study, candidate(study, config, ReconstructPayload()), tensor)
    after = output_error(study, candidate(study, config, found), tensor)
    assert after < 0.7 * before
    # No such unit gets a bias of its own.
    assert not found.biases


def test_a_weight_that_two_layers_share_is_rounded_once() -> None:
    graph = FloatGraph(seed=6)
    weight = graph.random(8, 8)
    x = graph.op("Relu", graph.op("MatMul", graph.input("x", 4, 8), weight))
    graph.output(graph.op("MatMul", x, weight))
    study = Study(graph.model(), {"x": correlated(np.random.default_rng(1), 64, 8).reshape(16, 4, 8)})
    found = reconstruct(study)
    assert list(found.integers) == [weight] and len(found.errors) == 2
    candidate(study, W4A8, found)


def test_the_same_seed_gives_the_same_numbers() -> None:
    study = layer_study("conv", activation="Relu")
    config = replace(QUICK, max_rows=500)
    first, second, other = (reconstruct(study, config=replace(config, seed=seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.integers["k0"], second.integers["k0"])
    np.testing.assert_array_equal(first.biases["Conv_0"], second.biases["Conv_0"])
    assert not np.array_equal(first.biases["Conv_0"], other.biases["Conv_0"])


def test_no_more_than_the_wanted_samples_are_read() -> None:
    study = layer_study("gemm")
    used = {"x": study.feeds["x"].copy()}
    used["x"][10:] = np.nan
    payload = quantize_payload(study, W4A8)
    builder = study.builder
    found = resolve(builder.prepared, builder.quantizer, W4A8, payload, replace(QUICK, samples=10), in_batches(used))
    assert np.isfinite(found.biases["Gemm_0"]).all()


def test_without_samples_there_is_a_reason() -> None:
    study = layer_study("gemm")
    builder = study.builder
    payload = quantize_payload(study, W4A8)
    with pytest.raises(DataError, match="at least one sample"):
        resolve(builder.prepared, builder.quantizer, W4A8, payload, ReconstructConfig(), lambda: iter(()))


def test_activations_that_do_not_fit_are_computed_again() -> None:
    graph = FloatGraph(seed=7)
    x = graph.op("Relu", graph.conv(graph.input("x", 4, 6, 6), 4, 4))
    graph.output(graph.op("Add", graph.conv(graph.op("Relu", graph.conv(x, 4, 4)), 4, 4), x))
    study = Study(graph.model(), {"x": correlated(np.random.default_rng(2), 16, 4, 6, 6)})
    kept, again = (reconstruct(study, max_kept_bytes=size) for size in (1 << 30, 0))
    assert len(kept.integers) == 3
    for name, integers in kept.integers.items():
        np.testing.assert_array_equal(integers, again.integers[name])


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_rows_of_automatic_padding(auto_pad: str) -> None:
    graph = FloatGraph(seed=8)
    weight = graph.random(5, 3, 4, 3)
    graph.output(graph.op("Conv", graph.input("x", 3, 9, 8), weight, strides=[2, 3], auto_pad=auto_pad))
    model = graph.model()
    x = np.random.default_rng(0).standard_normal((2, 3, 9, 8)).astype(np.float32)
    y = run(model, {"x": x})["t0"]
    reader = RowReader(model.graph.node[0], (4, 3))
    rows = np.arange(reader.rows_in(y))[::2]
    inputs, outputs = reader.read(x, y, rows)
    matrix = np.frombuffer(model.graph.initializer[0].raw_data, np.float32).reshape(5, -1)
    np.testing.assert_allclose(inputs[0] @ matrix.T, outputs[0], rtol=1e-4, atol=1e-5)
