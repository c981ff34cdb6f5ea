"""Whatever the layer, the grid and the settings: no method leaves a layer further from the float model than before."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autocompress.passes.quantize import QuantizeConfig
from autocompress.passes.reconstruct import ReconstructConfig, ReconstructPayload

sys.path.append(str(Path(__file__).parent))
from reconstruct_models import candidate, layer_study, output_error, reconstruct

pytest.importorskip("torch").set_num_threads(1)
# 16-bit activations leave the weight's rounding as the only error.
QUANTIZE = QuantizeConfig(activation_dtype="uint16", bias_correction=False)


@settings(max_examples=12, deadline=None)
@given(
    kind=st.sampled_from(["conv", "strided", "grouped", "depthwise", "gemm", "matmul"]),
    seed=st.integers(0, 50),
    activation=st.sampled_from(["", "Relu", "relu6", "HardSwish", "Tanh"]),
    weight_dtype=st.sampled_from(["int4", "uint4", "int8", "uint8"]),
    granularity=st.sampled_from(["per_channel", "per_tensor"]),
    method=st.sampled_from(["adaround", "gptq", "bias"]),
    learning_rate=st.sampled_from([1e-3, 0.05, 10.0]),
    regularization=st.sampled_from([1e-6, 10.0, 1e6]),
)
def test_on_the_calibration_data_no_layer_is_worse_than_rounded_to_nearest(
    kind: str,
    seed: int,
    activation: str,
    weight_dtype: str,
    granularity: str,
    method: str,
    learning_rate: float,
    regularization: float,
) -> None:
    study = layer_study(kind, activation=activation, seed=seed)
    tensor = study.model.graph.output[0].name
    quantize = replace(QUANTIZE, weight_dtype=weight_dtype, weight_granularity=granularity)
    config = ReconstructConfig(
        method=method, iterations=15, batch_rows=128, learning_rate=learning_rate, regularization=regularization
    )
    nearest = output_error(study, candidate(study, quantize, ReconstructPayload()), tensor)
    found = output_error(study, candidate(study, quantize, reconstruct(study, quantize, config)), tensor)
    assert found <= nearest * (1 + 1e-4)
