"""Scales, zero points and integers, against ONNX Runtime's own operators and against their definition."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from autocompress.calibration.scheme import (
    MINIMUM_SCALE,
    Scheme,
    dequantize,
    parameter_arrays,
    quantization_parameters,
    quantize,
)
from autocompress.errors import ConfigError, DataError

DTYPES = ("uint8", "int8", "uint16", "int16", "uint4", "int4")
ELEMENT_TYPES = {name: getattr(TensorProto, name.upper()) for name in DTYPES}
schemes = st.builds(Scheme, st.sampled_from(DTYPES), st.booleans())
ends = st.floats(0.0, 2.0**120, width=32, allow_subnormal=False)


def by_runtime(
    values: np.ndarray, scale: np.ndarray, zero: np.ndarray, scheme: Scheme
) -> tuple[np.ndarray, np.ndarray]:
    """QuantizeLinear and DequantizeLinear as ONNX Runtime computes them; the integers are cast to int32."""
    kind = ELEMENT_TYPES[scheme.dtype]
    attributes = {} if scheme.axis is None else {"axis": scheme.axis}
    if scheme.block_size is not None:
        attributes["block_size"] = scheme.block_size
    zero_tensor = helper.make_tensor("z", kind, zero.shape, zero.reshape(-1).tolist())
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], **attributes),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], **attributes),
        helper.make_node("Cast", ["q"], ["i"], to=TensorProto.INT32),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, values.shape)],
        [
            helper.make_tensor_value_info("i", TensorProto.INT32, values.shape),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, values.shape),
        ],
        [numpy_helper.from_array(scale, "s"), zero_tensor],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    integers, reals = session.run(None, {"x": values})
    return integers, reals


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(
    ("granularity", "axis", "block"),
    [
        ("per_tensor", None, None),
        ("per_channel", 1, None),
        ("per_channel", -1, None),
        ("per_block", 0, 4),
        ("per_block", 1, 3),
    ],
)
def test_same_integers_and_reals_as_onnx_runtime(
    dtype: str, symmetric: bool, granularity: str, axis: int | None, block: int | None
) -> None:
    rng = np.random.default_rng(0)
    # ONNX Runtime wants whole blocks of 4-bit integers to come in pairs.
    values = (rng.standard_normal((12, 6)) * 3).astype(np.float32)
    scheme = Scheme(dtype, symmetric, granularity, axis, block)
    shape = {
        "per_tensor": (),
        "per_channel": (6,),
        "per_block": (3, 6) if axis == 0 else (12, 2),
    }[granularity]
    # Narrower than the values, so that saturation is tested too.
    scales, zeros = parameter_arrays(-rng.uniform(0.5, 4.0, shape), rng.uniform(0.5, 4.0, shape), scheme)
    integers = quantize(values, scales, zeros, scheme, full_range=True)
    expected_integers, expected_reals = by_runtime(values, scales, zeros, scheme)
    assert (integers == expected_integers).all()
    np.testing.assert_array_equal(dequantize(integers, scales, zeros, scheme), expected_reals)
    assert integers.min() == scheme.dtype_min
    assert integers.max() == scheme.qmax


@settings(deadline=None, max_examples=300)
@given(
    scheme=schemes,
    low=ends,
    high=ends,
    fractions=st.lists(st.floats(0.0, 1.0, allow_subnormal=False), min_size=1, max_size=20),
)
def test_error_is_at_most_half_a_step_inside_the_range(
    scheme: Scheme, low: float, high: float, fractions: list[float]
) -> None:
    assume(low + high > 0)
    scale, zero = quantization_parameters(-low, high, scheme)
    bottom = -max(low, high) if scheme.symmetric and (scheme.signed or low > 0) else -low
    top = max(low, high) if scheme.symmetric else high
    values = np.array([bottom + f * (top - bottom) for f in fractions], np.float32)
    values = np.clip(values, np.float32(bottom), np.float32(top))
    back = dequantize(quantize(values, scale, zero, scheme), scale, zero, scheme)
    rounding = 4 * np.finfo(np.float32).eps * max(top, -bottom)
    assert (np.abs(back.astype(np.float64) - values) <= 0.5 * float(scale) * (1 + 1e-5) + rounding).all()


@given(scheme=schemes, low=ends, high=ends)
def test_zero_is_exact_and_scales_are_normal(scheme: Scheme, low: float, high: float) -> None:
    scale, zero = quantization_parameters(-low, high, scheme)
    assert scale.dtype == np.float32
    assert np.isfinite(scale)
    assert scale >= MINIMUM_SCALE
    assert scheme.qmin <= zero <= scheme.qmax
    integers = quantize(np.zeros(1, np.float32), scale, zero, scheme)
    assert integers[0] == zero
    assert dequantize(integers, scale, zero, scheme)[0] == 0.0


@given(scheme=schemes, low=ends, high=ends)
def test_integers_survive_the_round_trip(scheme: Scheme, low: float, high: float) -> None:
    scale, zero = quantization_parameters(-low, high, scheme)
    integers = np.unique(np.linspace(scheme.qmin, scheme.qmax, 300).astype(scheme.storage))
    assert (quantize(dequantize(integers, scale, zero, scheme), scale, zero, scheme) == integers).all()


@pytest.mark.parametrize("dtype", ["int8", "int16", "int4"])
def test_symmetric_integers_leave_out_the_lowest(dtype: str) -> None:
    scheme = Scheme(dtype, symmetric=True)
    scale, zero = quantization_parameters(-1.0, 0.25, scheme)
    assert zero == 0
    assert scale == pytest.approx(1.0 / scheme.qmax)
    assert quantize(np.array([-50.0], np.float32), scale, zero, scheme)[0] == -scheme.qmax
    assert quantize(np.array([-50.0], np.float32), scale, zero, scheme, full_range=True)[0] == -scheme.qmax - 1


def test_unsigned_symmetric_zero_points() -> None:
    scheme = Scheme("uint8", symmetric=True)
    assert quantization_parameters(-2.0, 1.0, scheme) == (np.float32(2.0 / 127), 128)
    assert quantization_parameters(0.0, 1.0, scheme) == (np.float32(1.0 / 255), 0)


@pytest.mark.parametrize("scheme", [Scheme(d, s) for d in DTYPES for s in (True, False)], ids=str)
@pytest.mark.parametrize(
    ("low", "high"),
    [
        (0.0, 0.0),
        (5.0, 5.0),
        (-5.0, -5.0),
        (0.0, 1e-42),
        (-1e-42, 1e-44),
        (-np.inf, np.inf),
        (0.0, np.inf),
        (-3.4e38, 3.4e38),
        (1e-30, 2e-30),
    ],
)
def test_degenerate_ranges(low: float, high: float, scheme: Scheme) -> None:
    scale, zero = quantization_parameters(low, high, scheme)
    assert MINIMUM_SCALE <= scale <= np.finfo(np.float32).max
    assert np.float32(scale) * np.float32(MINIMUM_SCALE) >= np.finfo(np.float32).tiny
    assert scheme.qmin <= zero <= scheme.qmax
    values = np.clip(np.array([low, high, 0.0]), -(2.0**127), 2.0**127).astype(np.float32)
    back = dequantize(quantize(values, scale, zero, scheme), scale, zero, scheme)
    assert np.isfinite(back).all()
    assert (np.abs(back.astype(np.float64) - values) <= 0.51 * float(scale)).all()


@pytest.mark.parametrize(("low", "high"), [(np.nan, 1.0), (0.0, np.nan), (2.0, 1.0)])
def test_impossible_ranges(low: float, high: float) -> None:
    with pytest.raises(DataError, match="range"):
        quantization_parameters(low, high, Scheme())


def test_infinities_saturate_and_nan_is_refused() -> None:
    scheme = Scheme("uint8", symmetric=False)
    assert quantize(np.array([np.inf, -np.inf], np.float32), 1e-18, 7, scheme).tolist() == [255, 0]
    with pytest.raises(DataError, match="NaN"):
        quantize(np.array([np.nan], np.float32), 1.0, 0, scheme)


def test_schemes_are_checked() -> None:
    for wrong in (
        {"dtype": "float8"},
        {"granularity": "per_row"},
        {"granularity": "per_channel"},
        {"granularity": "per_block", "axis": 0},
        {"granularity": "per_block", "axis": 0, "block_size": 0},
        {"granularity": "per_channel", "axis": 0, "block_size": 32},
    ):
        with pytest.raises(ConfigError, match="scheme"):
            Scheme(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no axis 2"):
        quantize(np.ones((2, 2), np.float32), np.ones(2), np.zeros(2), Scheme("int8", True, "per_channel", 2))
    scheme = Scheme("uint4", False, "per_block", 1, 32)
    assert Scheme(**scheme.to_dict()) == scheme
    assert (Scheme("int4").storage, Scheme("uint16").storage) == (np.int8, np.uint16)
    assert (Scheme("int8").qmin, Scheme("int8", False).qmin, Scheme("uint4").qmax) == (-127, -128, 15)
