"""Empirical bias correction: each layer's bias by what really reaches the layer."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autocompress.calibration.outputs import with_tensor_outputs
from autocompress.passes.quantize import QuantizeConfig
from autocompress.passes.reconstruct import ReconstructConfig, ReconstructPayload

sys.path.append(str(Path(__file__).parent))
from quantize_models import FloatGraph, Study, run
from reconstruct_models import candidate, correlated, layer_study, output_error, reconstruct

COARSE = QuantizeConfig(weight_dtype="int4", weight_granularity="per_tensor")
EMPIRICAL = ReconstructConfig(method="bias")


def mean_errors(study: Study, found: ReconstructPayload, quantize: QuantizeConfig = COARSE) -> np.ndarray:
    """Mean over samples and positions of what each output channel is off by."""
    (output,) = study.model.graph.output
    wanted = run(with_tensor_outputs(study.builder.prepared, [output.name]), study.feeds)[output.name]
    values = run(candidate(study, quantize, found), study.feeds)[output.name]
    return (values - wanted).mean(axis=(0, *range(2, values.ndim)))


@pytest.mark.parametrize("kind", ["conv", "strided", "grouped", "depthwise", "gemm"])
def test_no_channel_is_off_in_the_mean(kind: str) -> None:
    study = layer_study(kind)
    quantize = replace(COARSE, activation_dtype="uint16")  # the weight's rounding is the only error
    found = reconstruct(study, quantize, EMPIRICAL)
    before = mean_errors(study, ReconstructPayload(), replace(quantize, bias_correction=False))
    assert np.abs(mean_errors(study, found, quantize)).max() < 0.05 * np.abs(before).max()
    (error,) = found.errors.values()
    assert error.reconstructed <= error.nearest


def test_integers_stay_the_nearest() -> None:
    study = layer_study("conv", activation="Relu")
    ((name, integers),) = reconstruct(study, COARSE, EMPIRICAL).integers.items()
    nearest = study.builder.quantizer.quantized_weight(study.units["Conv_0"], COARSE)
    assert name == study.units["Conv_0"].weight
    np.testing.assert_array_equal(integers, nearest.values)


def test_it_sees_what_the_means_of_the_float_model_do_not() -> None:
    """Padding, and what earlier layers have become: corrections from channel means neglect both."""
    graph = FloatGraph(seed=5)
    x = graph.op("Relu", graph.conv(graph.input("x", 8, 5, 5), 8, 8))
    x = graph.op("Relu", graph.conv(x, 8, 8))
    graph.output(graph.conv(x, 8, 8))
    study = Study(graph.model(), {"x": correlated(np.random.default_rng(5), 32, 8, 5, 5)})
    (output,) = study.model.graph.output
    found = reconstruct(study, COARSE, EMPIRICAL)
    by_means = mean_errors(study, ReconstructPayload())
    assert np.abs(mean_errors(study, found)).max() < 0.3 * np.abs(by_means).max()
    errors = [output_error(study, candidate(study, COARSE, f), output.name) for f in (ReconstructPayload(), found)]
    assert errors[1] < errors[0]
