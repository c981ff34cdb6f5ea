"""Scales and zero points of weights, for every granularity and range algorithm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from autocompress.calibration.observer import statistics_of
from autocompress.calibration.ranges import check_algorithm, compute_range
from autocompress.calibration.ranges.aciq import clipping_distance
from autocompress.calibration.ranges.percentile import check_percentile
from autocompress.calibration.scheme import DoubleArray, FloatArray, IntegerArray, Scheme, parameter_arrays
from autocompress.calibration.weight_search import absolute_error, least_error_ranges, squared_error
from autocompress.errors import ModelError

Ranges = tuple[DoubleArray, DoubleArray]

# Longer rows are searched through their histogram, which costs the same for any length.
LONG_ROW = 1 << 18


def weight_scales(
    weight: npt.NDArray[np.floating[Any]],
    scheme: Scheme,
    algorithm: str = "abs_max",
    *,
    name: str = "weight",
    **parameters: Any,
) -> tuple[FloatArray, IntegerArray]:
    """Scales and zero points for a weight.

    On a symmetric grid ranges are mirrored, so every zero point is the middle of the grid.  A channel (or block) of
    zeros takes the widest range of the others: any scale represents it, and the integer bias that shares its scale is
    then no coarser than the other biases.

    Args:
        weight: of any rank that has the scheme's axis.
        scheme: integer type, symmetry and granularity.
        algorithm: a key of ``autocompress.calibration.ranges.ALGORITHMS``; a weight counts as a single sample, so
            "moving_average" is "min_max".
        name: of the weight, for messages.
        **parameters: of the algorithm, e.g. ``percentile=99.99``.

    Returns:
        Scales, float32, and zero points of ``scheme.storage``: of shape () per tensor, (channels,) per channel, and
        the weight's shape with ``ceil(size / block_size)`` along the axis per block.

    Raises:
        ConfigError: when the algorithm, a parameter or the axis does not exist.
        ModelError: when the weight is empty or holds NaN or Inf.
    """
    check_algorithm(algorithm, parameters)
    if weight.size == 0:
        raise ModelError(f"{name!r} has no elements, so it cannot be quantized; leave its layer in floating point")
    if not np.isfinite(weight).all():
        raise ModelError(f"{name!r} holds NaN or Inf; repair the model before compressing it")
    layout = _Layout(weight.shape, scheme)
    parts = [_ranges(rows, scheme, algorithm, parameters) for rows in layout.rows(np.asarray(weight, np.float32))]
    low, high = (layout.arranged([part[end] for part in parts]) for end in (0, 1))
    return parameter_arrays(*_without_empty(low, high), scheme)


class _Layout:
    """Takes a weight apart into rows that share a scale, and puts one number per row together again."""

    def __init__(self, shape: tuple[int, ...], scheme: Scheme) -> None:
        self._axis = scheme.checked_axis(len(shape))
        self._block = scheme.block_size
        self._rest = tuple(size for i, size in enumerate(shape) if i != self._axis)

    def rows(self, weight: FloatArray) -> list[FloatArray]:
        """Arrays of shape (rows, values); two of them where the last block along the axis is shorter."""
        if self._axis is None:
            return [weight.reshape(1, -1)]
        if self._block is None:
            return [np.ascontiguousarray(np.moveaxis(weight, self._axis, 0)).reshape(weight.shape[self._axis], -1)]
        lines = np.moveaxis(weight, self._axis, -1)
        whole = lines.shape[-1] // self._block * self._block
        parts = [(lines[..., :whole], self._block), (lines[..., whole:], lines.shape[-1] - whole)]
        return [np.ascontiguousarray(part).reshape(-1, length) for part, length in parts if part.size]

    def arranged(self, parts: list[DoubleArray]) -> DoubleArray:
        """One number per row, in the shape of scales."""
        if self._axis is None:
            return parts[0].reshape(())
        if self._block is None:
            return parts[0]
        lines = np.concatenate([part.reshape(*self._rest, -1) for part in parts], axis=-1)
        return np.moveaxis(lines, -1, self._axis)


def _ranges(rows: FloatArray, scheme: Scheme, algorithm: str, parameters: Mapping[str, Any]) -> Ranges:
    if algorithm in _BY_ROW and (rows.shape[1] <= LONG_ROW or algorithm in _EXACT):
        low, high = _BY_ROW[algorithm](rows, scheme, **parameters)
    else:
        low, high = _by_histogram(rows, scheme, algorithm, parameters)
    low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    if scheme.symmetric:
        high = np.maximum(-low, high)
        low = -high
    return low, high


def _by_histogram(rows: FloatArray, scheme: Scheme, algorithm: str, parameters: Mapping[str, Any]) -> Ranges:
    # Weights are always mirrored on symmetric grids, which is what a signed form means.
    signed = scheme.symmetric or scheme.signed
    found = [
        compute_range(
            statistics_of(row), algorithm, bits=scheme.bits, symmetric=scheme.symmetric, signed=signed, **parameters
        )
        for row in rows
    ]
    return np.array([r.low for r in found]), np.array([r.high for r in found])


def _abs_max(rows: FloatArray, _: Scheme) -> Ranges:
    bound = np.abs(rows).max(axis=1).astype(np.float64)
    return np.where(rows.min(axis=1) < 0.0, -bound, 0.0), np.where(rows.max(axis=1) > 0.0, bound, 0.0)


def _min_max(rows: FloatArray, _: Scheme) -> Ranges:
    return rows.min(axis=1).astype(np.float64), rows.max(axis=1).astype(np.float64)


def _percentile(rows: FloatArray, scheme: Scheme, *, percentile: float = 99.99) -> Ranges:
    check_percentile(percentile)
    if scheme.symmetric:
        magnitudes = np.abs(rows)
        bound = np.percentile(magnitudes, percentile, axis=1).astype(np.float64)
        # A row with hardly a value that is not zero keeps those it has.
        bound = np.where(bound > 0.0, bound, magnitudes.max(axis=1))
        return -bound, bound
    beyond = (100.0 - percentile) / 2.0
    low, high = np.percentile(rows, [beyond, 100.0 - beyond], axis=1).astype(np.float64)
    nothing_left = (low >= 0.0) & (high <= 0.0)
    return np.where(nothing_left, rows.min(axis=1), low), np.where(nothing_left, rows.max(axis=1), high)


def _mse(rows: FloatArray, scheme: Scheme) -> Ranges:
    return least_error_ranges(rows, scheme, squared_error)


def _emd(rows: FloatArray, scheme: Scheme) -> Ranges:
    return least_error_ranges(rows, scheme, absolute_error)


def _aciq(rows: FloatArray, scheme: Scheme, *, distribution: str = "auto") -> Ranges:
    center = np.zeros(rows.shape[0]) if scheme.symmetric else rows.mean(axis=1, dtype=np.float64)
    deviations = rows - center[:, None]
    reach = clipping_distance(
        np.abs(deviations).mean(axis=1), np.sqrt((deviations**2).mean(axis=1)), scheme.bits, distribution
    )
    low, high = _min_max(rows, scheme)
    return np.maximum(center - reach, low), np.minimum(center + reach, high)


_EXACT = frozenset({"abs_max", "min_max", "moving_average"})
_BY_ROW: Mapping[str, Callable[..., Ranges]] = MappingProxyType(
    {
        "abs_max": _abs_max,
        "min_max": _min_max,
        "moving_average": _min_max,
        "percentile": _percentile,
        "mse": _mse,
        "emd": _emd,
        "aciq": _aciq,
    }
)


def _without_empty(low: DoubleArray, high: DoubleArray) -> Ranges:
    """Rows of zeros take the widest range of the others, or [-1, 1] where there are no others."""
    widths = high - low
    empty = widths == 0.0
    if empty.all():
        return np.full_like(low, -1.0), np.full_like(high, 1.0)
    widest = np.unravel_index(int(np.argmax(widths)), widths.shape)
    return np.where(empty, low[widest], low), np.where(empty, high[widest], high)
