"""Weight scales for every granularity and algorithm, row by row against an exhaustive scan."""

from __future__ import annotations

import time

import numpy as np
import pytest

from autocompress.calibration.ranges import ALGORITHMS
from autocompress.calibration.scheme import Scheme, dequantize, parameter_arrays, quantize
from autocompress.calibration.weights import LONG_ROW, weight_scales
from autocompress.errors import ConfigError, ModelError

PER_CHANNEL = [
    Scheme("int8", True, "per_channel", 0),
    Scheme("int4", True, "per_channel", 0),
    Scheme("uint8", False, "per_channel", 0),
    Scheme("uint4", False, "per_channel", 0),
    Scheme("uint8", True, "per_channel", 0),
]


def back(weight: np.ndarray, scheme: Scheme, algorithm: str) -> np.ndarray:
    scales, zeros = weight_scales(weight, scheme, algorithm)
    return dequantize(quantize(weight, scales, zeros, scheme), scales, zeros, scheme)


def least_row_error(row: np.ndarray, scheme: Scheme, power: int) -> float:
    """The least error of one row over a dense scan of thresholds, both ends of asymmetric grids apart."""
    tensor = Scheme(scheme.dtype, scheme.symmetric)
    low, high = min(float(row.min()), 0.0), max(float(row.max()), 0.0)
    if scheme.symmetric:
        bound = max(-low, high)
        pairs = [(-bound * f, bound * f) for f in np.linspace(0.02, 1.0, 981)]
    else:
        pairs = [(low * a, high * b) for a in np.linspace(0.2, 1.0, 50) for b in np.linspace(0.2, 1.0, 50)]
    ends = np.array(pairs)
    scales, zeros = parameter_arrays(ends[:, 0], ends[:, 1], tensor)
    steps, offsets = scales[:, None], zeros.astype(np.float32)[:, None]
    integers = np.clip(np.rint(row / steps) + offsets, tensor.qmin, tensor.qmax)
    return float((np.abs((integers - offsets) * steps - row) ** power).sum(axis=1).min())


@pytest.mark.parametrize("scheme", PER_CHANNEL, ids=str)
@pytest.mark.parametrize(("algorithm", "power"), [("mse", 2), ("emd", 1)])
@pytest.mark.parametrize("length", [9, 64, 1500])
def test_least_error_rows_against_an_exhaustive_scan(scheme: Scheme, algorithm: str, power: int, length: int) -> None:
    rng = np.random.default_rng(length)
    kinds = [rng.standard_normal, lambda n: rng.laplace(size=n), lambda n: rng.standard_t(3, n), rng.random]
    weight = np.stack([kind(length) * 10.0 ** rng.uniform(-3, 1) for kind in kinds for _ in range(3)]).astype(
        np.float32
    )
    errors = (np.abs(back(weight, scheme, algorithm) - weight) ** power).sum(axis=1)
    best = np.array([least_row_error(row, scheme, power) for row in weight])
    assert errors.sum() <= 1.015 * best.sum()
    # Short rows have many sharp local minima: each must be near the best, not exactly there.
    assert (errors <= 1.35 * best + 1e-12).all()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("scheme", [*PER_CHANNEL, Scheme("int8", True), Scheme("uint8", False)], ids=str)
def test_every_algorithm_serves_weights(algorithm: str, scheme: Scheme) -> None:
    weight = (np.random.default_rng(1).standard_normal((6, 5, 3, 3)) * [[[[2.0]]]]).astype(np.float32)
    scales, zeros = weight_scales(weight, scheme, algorithm)
    assert scales.shape == zeros.shape == (() if scheme.axis is None else (6,))
    assert (scales > 0).all()
    assert zeros.dtype == scheme.storage
    if scheme.symmetric:
        assert (zeros == (0 if scheme.signed else 128)).all()
    integers = quantize(weight, scales, zeros, scheme)
    assert integers.min() >= scheme.qmin
    difference = dequantize(integers, scales, zeros, scheme) - weight
    assert (difference**2).mean() < (0.002 if scheme.bits == 8 else 0.35) * (weight**2).mean() + 0.05 * (
        scheme.bits == 8
    )


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_channels_on_any_axis(axis: int) -> None:
    weight = np.random.default_rng(2).standard_normal((4, 5, 6)).astype(np.float32)
    scales, _ = weight_scales(weight, Scheme("int8", True, "per_channel", axis))
    others = tuple(i for i in range(3) if i != axis % 3)
    np.testing.assert_allclose(scales, np.abs(weight).max(axis=others) / 127, rtol=1e-6)


@pytest.mark.parametrize(("axis", "block"), [(0, 4), (0, 5), (1, 32), (2, 3), (-1, 100)])
@pytest.mark.parametrize("algorithm", ["min_max", "mse"])
def test_blocks_are_independent_rows(axis: int, block: int, algorithm: str) -> None:
    weight = np.random.default_rng(3).standard_normal((8, 40, 7)).astype(np.float32)
    scheme = Scheme("uint4", False, "per_block", axis, block)
    scales, zeros = weight_scales(weight, scheme, algorithm)
    moved, moved_scales = np.moveaxis(weight, axis, -1), np.moveaxis(scales, axis, -1)
    moved_zeros = np.moveaxis(zeros, axis, -1)
    assert moved_scales.shape[-1] == -(-moved.shape[-1] // block)
    for b in (0, moved_scales.shape[-1] - 1):
        piece = moved[1, 2, b * block : (b + 1) * block]
        if piece.size == block or algorithm == "min_max":
            alone_scale, alone_zero = weight_scales(piece, Scheme("uint4", False), algorithm)
            assert moved_zeros[1, 2, b] == pytest.approx(int(alone_zero), abs=1 if algorithm == "mse" else 0)
            assert moved_scales[1, 2, b] == pytest.approx(float(alone_scale), rel=0.05 if algorithm == "mse" else 1e-6)
    error = np.abs(dequantize(quantize(weight, scales, zeros, scheme), scales, zeros, scheme) - weight)
    if algorithm == "min_max":
        assert error.max() <= 0.51 * scales.max()


def test_long_rows_use_their_histogram_to_the_same_effect() -> None:
    rng = np.random.default_rng(4)
    weight = rng.standard_t(4, LONG_ROW + 1).astype(np.float32)
    for scheme in (Scheme("int4", True), Scheme("uint4", False)):
        error = float(((back(weight, scheme, "mse") - weight) ** 2).mean())
        short = weight[:LONG_ROW]
        reference = float(((back(short, scheme, "mse") - short) ** 2).mean())
        assert error == pytest.approx(reference, rel=0.01)


def test_channels_of_zeros_take_the_widest_range() -> None:
    weight = np.random.default_rng(5).standard_normal((4, 9)).astype(np.float32)
    weight[1] = 0.0
    weight[2] *= 10
    for scheme in PER_CHANNEL:
        for algorithm in ALGORITHMS:
            scales, zeros = weight_scales(weight, scheme, algorithm)
            assert scales[1] == scales.max()
            assert (dequantize(quantize(weight, scales, zeros, scheme), scales, zeros, scheme)[1] == 0).all()


@pytest.mark.parametrize(
    "scheme", [Scheme("int8", True, "per_channel", 0), Scheme("uint8", True), Scheme("uint8", False)]
)
def test_a_weight_of_zeros(scheme: Scheme) -> None:
    weight = np.zeros((3, 4), np.float32)
    scales, zeros = weight_scales(weight, scheme, "mse")
    assert (scales > 0).all()
    assert (dequantize(quantize(weight, scales, zeros, scheme), scales, zeros, scheme) == 0).all()


def test_denormal_channels_keep_normal_scales() -> None:
    weight = np.array([[1e-40, -2e-41], [1.0, -0.5]], np.float32)
    for algorithm in ALGORITHMS:
        scales, _ = weight_scales(weight, Scheme("int8", True, "per_channel", 0), algorithm)
        assert (scales >= np.finfo(np.float32).tiny).all()


def test_sparse_rows_keep_their_values() -> None:
    weight = np.zeros((2, 20_000), np.float32)
    weight[:, 7] = 3.0
    scales, _ = weight_scales(weight, Scheme("int8", True, "per_channel", 0), "percentile", percentile=99.0)
    np.testing.assert_allclose(scales, 3.0 / 127, rtol=1e-6)


def test_percentile_parameter() -> None:
    weight = np.random.default_rng(6).standard_normal((1, 10_000)).astype(np.float32)
    scales, _ = weight_scales(weight, Scheme("int8", True, "per_channel", 0), "percentile", percentile=90.0)
    assert scales[0] * 127 == pytest.approx(np.percentile(np.abs(weight), 90.0), rel=1e-5)
    with pytest.raises(ConfigError, match="percentile"):
        weight_scales(weight, Scheme("int8"), "percentile", percentile=0.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_cannot_be_quantized_are_named(bad: float) -> None:
    with pytest.raises(ModelError, match=r"'conv1\.weight' holds NaN or Inf"):
        weight_scales(np.array([[1.0, bad]]), Scheme(), name="conv1.weight")
    with pytest.raises(ModelError, match="no elements"):
        weight_scales(np.zeros((0, 3)), Scheme(), name="conv1.weight")
    with pytest.raises(ConfigError, match="unknown"):
        weight_scales(np.ones((2, 3)), Scheme(), "best")
    with pytest.raises(ConfigError, match="no axis"):
        weight_scales(np.ones(3), Scheme("int8", True, "per_channel", 1))


def test_the_given_weight_is_not_changed() -> None:
    weight = np.random.default_rng(7).standard_normal((8, 30)).astype(np.float32)
    copy = weight.copy()
    for algorithm in ALGORITHMS:
        weight_scales(weight, PER_CHANNEL[2], algorithm)
    assert (weight == copy).all()


def test_searching_a_large_weight_takes_milliseconds() -> None:
    weight = np.random.default_rng(8).standard_normal((1280, 320)).astype(np.float32)
    seconds = []
    for _ in range(3):
        start = time.process_time()
        weight_scales(weight, PER_CHANNEL[0], "mse")
        seconds.append(time.process_time() - start)
    # 15 ms on an idle core; the bound leaves room for slow and busy machines.
    assert min(seconds) < 0.15
