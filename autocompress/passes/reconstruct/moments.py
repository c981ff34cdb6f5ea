"""The error of a layer as a quadratic function of its weight, from moments that are summed up while rows stream by.

With rows x of what the quantized model so far feeds to the layer, targets y of the float model, and the residual
e = y - W x - b of the float weight on the quantized input,

    |y - (W + D) x - (b + d)|^2 = |e|^2 - 2 tr(D' E[e x']) + tr(D E[x x'] D') - ...

so that E[x x'], E[e x'] and the means are all that any method needs, whatever the number of samples.  Taking the
residual instead of y keeps differences of large numbers out of the sums.

With fewer rows than columns, a weight can be fitted to the rows themselves: the error on them vanishes while that on
others grows.  What is minimized therefore takes sampled moments only as far as they can be trusted (``estimated``).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from autocompress.passes.reconstruct.layer import FloatArray

DoubleArray = npt.NDArray[np.float64]

_FEWEST_BATCHES = 3


class MomentObjective:
    """Mean square error of a layer's output.

    Args:
        weight: float weight of shape (groups, O/g, K).
        bias: of shape (groups, O/g); zeros where the layer has none.
        free_bias: whether the bias follows the weight, so that the mean error vanishes.
    """

    def __init__(self, weight: FloatArray, bias: FloatArray, *, free_bias: bool) -> None:
        groups, outputs, size = weight.shape
        self.weight, self.bias, self.free_bias = weight, bias, free_bias
        self._rows = 0
        self._xx = np.zeros((groups, size, size))
        self._ex = np.zeros((groups, outputs, size))
        self._x = np.zeros((groups, 1, size))
        self._e = np.zeros((groups, outputs, 1))
        self._ee = np.zeros((groups, outputs, 1))
        self._yy = 0.0
        self._spreads: list[DoubleArray] = []

    def update(self, inputs: FloatArray, outputs: FloatArray) -> None:
        """Adds rows: inputs of shape (groups, rows, K), targets of shape (groups, rows, O/g)."""
        residual = outputs - inputs @ self.weight.transpose(0, 2, 1) - self.bias[:, None, :]
        self._rows += inputs.shape[1]
        self._xx += inputs.transpose(0, 2, 1) @ inputs
        self._ex += residual.transpose(0, 2, 1) @ inputs
        self._x += inputs.sum(axis=1, dtype=np.float64)[:, None, :]
        self._e += residual.sum(axis=1, dtype=np.float64)[:, :, None]
        self._ee += (residual**2).sum(axis=1, dtype=np.float64)[:, :, None]
        if inputs.shape[1] > 1:
            self._spreads.append(inputs.var(axis=1, ddof=1, dtype=np.float64))
        self._yy += float(np.sum(outputs**2, dtype=np.float64))

    @property
    def power(self) -> float:
        """Mean square of the targets, summed over outputs; never 0."""
        return max(self._yy / max(self._rows, 1), float(np.finfo(np.float32).tiny))

    @property
    def hessian(self) -> DoubleArray:
        """E[x x'], of shape (groups, K, K); of centred x where the bias is free."""
        mean = self._x / self._rows
        return self._xx / self._rows - (mean.transpose(0, 2, 1) @ mean if self.free_bias else 0.0)

    @property
    def cross(self) -> DoubleArray:
        """E[e x'], of shape (groups, O/g, K); of centred e and x where the bias is free."""
        product = self._e @ self._x / self._rows**2
        return self._ex / self._rows - (product if self.free_bias else 0.0)

    def estimated(self) -> tuple[DoubleArray, DoubleArray]:
        """``hessian`` and ``cross`` as they would be over unseen rows, as well as these rows can tell.

        What is sampled is shrunk towards what is known best: of the hessian towards its diagonal, of the cross moments
        towards 0, each group by the share of the squared moments that sampling alone explains (Schaefer and Strimmer,
        "A Shrinkage Approach to Large-Scale Covariance Matrix Estimation", 2005, with the variances of a normal
        distribution, (s_ii s_jj + s_ij^2) / (rows - 1)).
        """
        hessian, cross = self.hessian, self.cross
        variances = np.diagonal(hessian, axis1=1, axis2=2).copy()
        residuals = (self._ee / self._rows - ((self._e / self._rows) ** 2 if self.free_bias else 0.0))[:, :, 0]
        # Sums over all pairs i, j (i != j in the hessian) of s_ij^2 and of s_ii s_jj.
        power = np.sum(hessian**2, axis=(1, 2)) - np.sum(variances**2, axis=1)
        products = np.sum(variances, axis=1) ** 2 - np.sum(variances**2, axis=1)
        hessian *= 1.0 - self._explained(power, products)
        np.einsum("gii->gi", hessian)[...] = variances
        power, products = np.sum(cross**2, axis=(1, 2)), np.sum(residuals, axis=1) * np.sum(variances, axis=1)
        cross *= 1.0 - self._explained(power, products)
        return hessian, cross

    def _explained(self, power: DoubleArray, products: DoubleArray) -> DoubleArray:
        """The share of squared moments that sampling explains, of shape (groups, 1, 1)."""
        noise = (products + power) / max(self._independent_rows() - 1.0, 1.0)
        share: DoubleArray = np.minimum(noise / np.maximum(power, np.finfo(np.float64).tiny), 1.0)
        return share[:, None, None]

    def _independent_rows(self) -> float:
        """How many independent rows of a normal distribution would tell as much.

        Rows of one image are alike.  The variance of a mean of so many rows is 2 s_ii^2 / rows; that between batches
        tells what it really is (Kish's effective sample size).
        """
        if len(self._spreads) < _FEWEST_BATCHES:
            return float(self._rows)
        spreads = np.stack(self._spreads)
        noise = float(np.sum(spreads.var(axis=0, ddof=1))) / len(spreads)
        expected = 2.0 * float(np.sum(spreads.mean(axis=0) ** 2))
        return min(float(self._rows), expected / max(noise, float(np.finfo(np.float64).tiny)))

    def error(self, weight: FloatArray, bias: FloatArray) -> float:
        """Mean square error relative to the mean square of the targets."""
        change = weight.astype(np.float64) - self.weight
        shift = (bias.astype(np.float64) - self.bias)[:, :, None]
        total = float(np.sum(self._ee)) + float(np.sum((change @ self._xx - 2.0 * self._ex) * change))
        total += float(np.sum(shift * (2.0 * (change @ self._x.transpose(0, 2, 1)) - 2.0 * self._e)))
        total += self._rows * float(np.sum(shift**2))
        return max(total, 0.0) / self._rows / self.power

    def fitted_bias(self, weight: FloatArray) -> FloatArray:
        """The bias of shape (groups, O/g) that leaves no mean error."""
        change = weight.astype(np.float64) - self.weight
        mean = (self._e - change @ self._x.transpose(0, 2, 1))[:, :, 0] / self._rows
        fitted: FloatArray = (self.bias + mean).astype(np.float32)
        return fitted
