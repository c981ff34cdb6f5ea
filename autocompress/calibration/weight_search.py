"""Clipping thresholds with the least error for many rows of a weight at once, each row by its own values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from autocompress.calibration.scheme import DoubleArray, FloatArray, Scheme, parameter_arrays

RowError = Callable[[FloatArray], FloatArray]

# Thresholds are sought as fractions of the extremes, down to 2**-_OCTAVES.
_OCTAVES = 6.0
_PATIENCE_OCTAVES = 2.0
# The coarse scan is denser where that is cheap, since short rows have many local minima.
_POINTS = (24, 192)
_VALUES_TO_SCAN = 1 << 23
_REFINEMENTS = 2
# Rows are handled in pieces that stay in the second-level cache for the whole search.
_PIECE = 1 << 16


def squared_error(differences: FloatArray) -> FloatArray:
    """Sum of squares of each row."""
    sums: FloatArray = np.einsum("ij,ij->i", differences, differences)
    return sums


def absolute_error(differences: FloatArray) -> FloatArray:
    """Sum of magnitudes of each row; overwrites its argument."""
    sums: FloatArray = np.abs(differences, out=differences).sum(axis=1)
    return sums


def least_error_ranges(rows: FloatArray, scheme: Scheme, error: RowError) -> tuple[DoubleArray, DoubleArray]:
    """The range of each row whose quantization error is least.

    A scan of common fractions of both extremes, and on an asymmetric grid of each by itself, is followed by ever finer
    ones around each row's best.

    Args:
        rows: weights of shape (rows, values).
        scheme: the grid.
        error: of the differences between the weights and their quantized values.

    Returns:
        Lower and upper ends, float64 of shape (rows,).
    """
    points = int(np.clip(_VALUES_TO_SCAN // rows.size, *_POINTS))
    height = max(_PIECE // rows.shape[1], 1)
    pieces = [_Piece(rows[i : i + height], scheme, error).search(points) for i in range(0, rows.shape[0], height)]
    return np.concatenate([low for low, _ in pieces]), np.concatenate([high for _, high in pieces])


class _Piece:
    """The search over a few rows."""

    def __init__(self, rows: FloatArray, scheme: Scheme, error: RowError) -> None:
        self._rows = rows
        self._scheme = scheme
        self._error = error
        self._buffer = np.empty_like(rows)
        low, high = rows.min(axis=1).astype(np.float64), rows.max(axis=1).astype(np.float64)
        if scheme.symmetric:
            high = np.maximum(-low, high)
            low = -high
        self._extremes = np.minimum(low, 0.0), np.maximum(high, 0.0)
        self._fractions = np.ones((2, rows.shape[0]))
        self._least = self._errors(self._fractions)

    def search(self, points: int) -> tuple[DoubleArray, DoubleArray]:
        """The best ends, of shape (rows,) each."""
        both, ends = slice(None), [slice(0, 1), slice(1, 2)]
        moves = [both] if self._scheme.symmetric else [both, *ends]
        for move in moves:
            self._scan(move, points)
        ratio = 2.0 ** (_OCTAVES / (points - 1))
        for _ in range(_REFINEMENTS):
            ratio **= 0.25
            for move in moves:
                centers = self._fractions.copy()
                for exponent in (-3, -2, -1, 1, 2, 3):
                    candidate = self._fractions.copy()
                    candidate[move] = np.minimum(centers[move] * ratio**exponent, 1.0)
                    self._offer(candidate)
        low, high = self._extremes
        return low * self._fractions[0], high * self._fractions[1]

    def _scan(self, move: slice, points: int) -> None:
        """Tries fractions for one end or both, downwards from 1, until none has helped any row for long."""
        patience = points * _PATIENCE_OCTAVES / _OCTAVES
        helped = 0
        for i, exponent in enumerate(np.linspace(0.0, -_OCTAVES, points)):
            candidate = self._fractions.copy()
            candidate[move] = np.exp2(exponent)
            if self._offer(candidate):
                helped = i
            elif i - helped > patience:
                break

    def _offer(self, fractions: DoubleArray) -> bool:
        """Takes candidate fractions, of shape (2, rows), for the rows where they are better; whether there were any."""
        errors = self._errors(fractions)
        better = errors < self._least
        self._fractions[:, better] = fractions[:, better]
        self._least[better] = errors[better]
        return bool(better.any())

    def _errors(self, fractions: DoubleArray) -> FloatArray:
        low, high = self._extremes
        scales, zeros = parameter_arrays(low * fractions[0], high * fractions[1], self._scheme)
        steps = scales[:, None]
        np.divide(self._rows, steps, out=self._buffer)
        np.rint(self._buffer, out=self._buffer)
        if self._scheme.symmetric and self._scheme.signed:
            np.clip(self._buffer, np.float32(self._scheme.qmin), np.float32(self._scheme.qmax), out=self._buffer)
        else:
            offsets = zeros.astype(np.float32)[:, None]
            np.maximum(self._buffer, self._scheme.qmin - offsets, out=self._buffer)
            np.minimum(self._buffer, self._scheme.qmax - offsets, out=self._buffer)
        self._buffer *= steps
        self._buffer -= self._rows
        return self._error(self._buffer)
