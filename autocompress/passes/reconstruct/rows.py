"""The error of a layer and its activation, on rows kept in memory.

    mean |act(y) - act(W x + b)|^2

What an activation cuts off, or squeezes together, does not matter, which no quadratic function of the weight can say
(Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization", ICML 2020, section 3.3).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from autocompress.passes.reconstruct.activation import Activation, Clipping, Piece
from autocompress.passes.reconstruct.layer import FloatArray

DoubleArray = npt.NDArray[np.float64]

_CHUNK = 1 << 22
_CLIPPED_STEPS = 2
_MOST_STEPS = 4
_LEAST_GAIN = 1e-3
_DAMPING = 0.01
_MORE_DAMPING = 10.0
_FLAT = 1e-6  # mean square of slopes that are too small for a step


class RowObjective:
    """Mean square error of a layer's output after its activation.

    Attributes:
        inputs: of shape (groups, rows, K).
        targets: outputs of the float layer after the activation, of shape (groups, rows, O/g).
        activation: behind the layer; known over the range of the targets once all rows are there.

    Args:
        weight: float weight of shape (groups, O/g, K).
        bias: of shape (groups, O/g).
        activation: behind the layer.
    """

    def __init__(self, weight: FloatArray, bias: FloatArray, activation: Clipping | Piece) -> None:
        self.weight, self.bias = weight, bias
        self.activation: Activation = Clipping()
        self._activation = activation
        groups, outputs, size = weight.shape
        self.inputs = np.zeros((groups, 0, size), np.float32)
        self.targets = np.zeros((groups, 0, outputs), np.float32)
        self._parts: list[tuple[FloatArray, FloatArray]] = []

    def update(self, inputs: FloatArray, outputs: FloatArray) -> None:
        """Adds rows: inputs of shape (groups, rows, K), outputs before the activation of shape (groups, rows, O/g)."""
        self._parts.append((inputs, outputs))

    def finish(self, generator: np.random.Generator) -> None:
        """Joins the rows and shuffles them, so that any stretch of them is a fair sample."""
        order = generator.permutation(sum(inputs.shape[1] for inputs, _ in self._parts))
        self.inputs = np.concatenate([inputs for inputs, _ in self._parts], axis=1)[:, order]
        outputs = np.concatenate([outputs for _, outputs in self._parts], axis=1)[:, order]
        self._parts.clear()
        self.activation = self._activation.over(float(outputs.min()), float(outputs.max()))
        self.targets = self.activation.value(outputs)

    def error(self, weight: FloatArray, bias: FloatArray) -> float:
        """Mean square error relative to the mean square of the targets, both after the activation."""
        total = power = 0.0
        for rows in self._chunks():
            wanted = self.targets[:, rows]
            found = self._product(weight, rows) + bias[:, None, :]
            total += float(np.sum((self.activation.value(found) - wanted) ** 2, dtype=np.float64))
            power += float(np.sum(wanted**2, dtype=np.float64))
        return total / max(power, np.finfo(np.float64).tiny)

    def fitted_bias(self, weight: FloatArray) -> FloatArray:
        """A bias of shape (groups, O/g) that is nearly the best for a weight.

        Gauss-Newton steps of every output by itself: a change of the bias changes what is found by the activation's
        slope.  Where values are only clipped, two of them end where hardly any mean error is left, for the error is
        quadratic as long as the same values are let through.  Else they are damped (Marquardt, 1963) and end no
        further away than the layer's own bias.
        """
        bias = self.bias.astype(np.float64)
        products = [self._product(weight, rows) for rows in self._chunks()]
        if isinstance(self.activation, Clipping):
            for _ in range(_CLIPPED_STEPS):
                _, gradient, curvature = self._slopes(products, bias)
                bias += gradient / np.maximum(curvature, 1.0)
        else:
            bias = self._damped(products, bias)
        fitted: FloatArray = bias.astype(np.float32)
        return fitted

    def _damped(self, products: list[FloatArray], bias: DoubleArray) -> DoubleArray:
        best = bias
        least, gradient, curvature = self._slopes(products, best)
        damping = np.full_like(best, _DAMPING)
        rows = self.inputs.shape[1]
        for _ in range(_MOST_STEPS):
            tried = best + gradient / np.maximum(curvature * (1.0 + damping), _FLAT * rows)
            error, own_gradient, own_curvature = self._slopes(products, tried)
            better = error < least
            gain = float(np.sum(least - error, where=better))
            enough = gain < _LEAST_GAIN * float(np.sum(least)) and bool(better.any())
            best, least = np.where(better, tried, best), np.where(better, error, least)
            if enough:
                break
            gradient = np.where(better, own_gradient, gradient)
            curvature = np.where(better, own_curvature, curvature)
            damping = np.where(better, damping / _MORE_DAMPING, (1.0 + damping) * _MORE_DAMPING)
        return best

    def _slopes(self, products: list[FloatArray], bias: DoubleArray) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
        """Of every output: squared error, minus half its slope in the bias, half its curvature; sums over rows."""
        error, gradient, curvature = np.zeros_like(bias), np.zeros_like(bias), np.zeros_like(bias)
        for rows, product in zip(self._chunks(), products, strict=True):
            value, slope = self.activation.value_and_slope(product + bias[:, None, :].astype(np.float32))
            away = self.targets[:, rows] - value
            error += _sum_of_products(away, away)
            gradient += _sum_of_products(away, slope)
            curvature += _sum_of_products(slope, slope)
        return error, gradient, curvature

    def _product(self, weight: FloatArray, rows: slice) -> FloatArray:
        product: FloatArray = self.inputs[:, rows] @ weight.transpose(0, 2, 1)
        return product

    def _chunks(self) -> list[slice]:
        groups, rows, _ = self.inputs.shape
        step = max(1, _CHUNK // max(1, groups * self.targets.shape[2]))
        return [slice(start, start + step) for start in range(0, rows, step)]


def _sum_of_products(a: FloatArray, b: FloatArray) -> DoubleArray:
    """Over rows, of two arrays of shape (groups, rows, O/g)."""
    total: DoubleArray = (a * b).sum(axis=1, dtype=np.float64)
    return total
