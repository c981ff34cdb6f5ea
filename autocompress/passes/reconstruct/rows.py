"""The error of a layer and its activation, on rows kept in memory.

    mean |act(y) - act(W x + b)|^2,    act(z) = min(max(z, low), high)

What an activation cuts off does not matter, which no quadratic function of the weight can say (Nagel et al., "Up or
Down? Adaptive Rounding for Post-Training Quantization", ICML 2020, section 3.3).
"""

from __future__ import annotations

import numpy as np

from autocompress.passes.reconstruct.layer import FloatArray

_CHUNK = 1 << 22


class RowObjective:
    """Mean square error of a layer's output after its activation.

    Attributes:
        inputs: of shape (groups, rows, K).
        targets: outputs of the float layer before the activation, of shape (groups, rows, O/g).
        bounds: between which the activation lets values through.

    Args:
        weight: float weight of shape (groups, O/g, K).
        bias: of shape (groups, O/g).
        bounds: see there.
    """

    def __init__(self, weight: FloatArray, bias: FloatArray, bounds: tuple[float, float]) -> None:
        self.weight, self.bias, self.bounds = weight, bias, bounds
        groups, outputs, size = weight.shape
        self.inputs = np.zeros((groups, 0, size), np.float32)
        self.targets = np.zeros((groups, 0, outputs), np.float32)
        self._parts: list[tuple[FloatArray, FloatArray]] = []

    def update(self, inputs: FloatArray, outputs: FloatArray) -> None:
        """Adds rows: inputs of shape (groups, rows, K), targets of shape (groups, rows, O/g)."""
        self._parts.append((inputs, outputs))

    def finish(self, generator: np.random.Generator) -> None:
        """Joins the rows and shuffles them, so that any stretch of them is a fair sample."""
        order = generator.permutation(sum(inputs.shape[1] for inputs, _ in self._parts))
        self.inputs = np.concatenate([inputs for inputs, _ in self._parts], axis=1)[:, order]
        self.targets = np.concatenate([outputs for _, outputs in self._parts], axis=1)[:, order]
        self._parts.clear()

    def error(self, weight: FloatArray, bias: FloatArray) -> float:
        """Mean square error relative to the mean square of the targets, both after the activation."""
        total = power = 0.0
        for chunk in self._chunks():
            wanted = np.clip(self.targets[:, chunk], *self.bounds)
            found = self.inputs[:, chunk] @ weight.transpose(0, 2, 1) + bias[:, None, :]
            total += float(np.sum((np.clip(found, *self.bounds) - wanted) ** 2, dtype=np.float64))
            power += float(np.sum(wanted**2, dtype=np.float64))
        return total / max(power, np.finfo(np.float64).tiny)

    def fitted_bias(self, weight: FloatArray) -> FloatArray:
        """A bias of shape (groups, O/g) that leaves hardly any mean error where the activation lets values through.

        Two Newton steps: the error is quadratic as long as the same values are let through.
        """
        bias = self.bias.astype(np.float64)
        low, high = self.bounds
        for _ in range(2):
            gradient, curvature = np.zeros_like(bias), np.zeros_like(bias)
            for chunk in self._chunks():
                found = self.inputs[:, chunk] @ weight.transpose(0, 2, 1) + bias[:, None, :].astype(np.float32)
                through = (found > low) & (found < high)
                error = np.clip(self.targets[:, chunk], low, high) - found
                gradient += np.where(through, error, 0.0).sum(axis=1, dtype=np.float64)
                curvature += through.sum(axis=1)
            bias += gradient / np.maximum(curvature, 1.0)
        fitted: FloatArray = bias.astype(np.float32)
        return fitted

    def _chunks(self) -> list[slice]:
        groups, rows, _ = self.inputs.shape
        step = max(1, _CHUNK // max(1, groups * self.targets.shape[2]))
        return [slice(start, start + step) for start in range(0, rows, step)]
