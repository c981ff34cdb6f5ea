"""ACIQ: analytic clipping for a Gaussian or a Laplace distribution fitted by its moments.

For a symmetric distribution around m clipped at m +- a and quantized with M bits, the mean squared error

    Laplace, scale b:     2 b^2 exp(-a / b)                                             + a^2 / (3 * 4^M)
    Gauss, deviation d:   (a^2 + d^2) erfc(a / (sqrt(2) d)) - sqrt(2 / pi) a d exp(-a^2 / (2 d^2))  + a^2 / (3 * 4^M)

has a minimum at a multiple of b or d that depends on M alone (Banner, Nahshan, Soudry: Post-training 4-bit quantization
of convolutional networks for rapid deployment, NeurIPS 2019).  One-sided values are the upper half of a symmetric
distribution around zero, which spends its levels on one side: one bit more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt

from autocompress.calibration.histogram import DoubleArray
from autocompress.calibration.ranges.density import density, magnitude_density
from autocompress.calibration.ranges.form import GridForm, TensorRange
from autocompress.calibration.statistics import TensorStatistics
from autocompress.errors import ConfigError

DISTRIBUTIONS = ("auto", "gauss", "laplace")


def aciq(statistics: TensorStatistics, form: GridForm, *, distribution: str = "auto") -> TensorRange:
    """The analytic optimum for the fitted distribution.

    Args:
        statistics: of a tensor with at least one value that is not zero.
        form: the kind of grid.
        distribution: "gauss", "laplace", or "auto" for the one under which the values are likelier.

    Raises:
        ConfigError: on another distribution.
    """
    if form.by_magnitude(statistics):
        magnitudes = magnitude_density(statistics)
        bits = form.bits if form.mirrored(statistics) else form.bits + 1
        bound = clipping_distance(magnitudes.mean, math.sqrt(magnitudes.mean_square), bits, distribution)
        return form.range_of_magnitude(statistics, float(bound))
    center, mean_deviation, deviation = _moments(statistics)
    reach = float(clipping_distance(mean_deviation, deviation, form.bits, distribution))
    return form.range(statistics, center - reach, center + reach)


def _moments(statistics: TensorStatistics) -> tuple[float, float, float]:
    """Mean, mean absolute deviation and standard deviation of all values, zeros included."""
    values = density(statistics)
    share = values.total / statistics.count
    mean = values.mean * share
    # E |x - m| = 2 E max(m - x, 0) + E (x - m), and the last term is zero.
    shortfall = float(values.shortfall(np.array([mean]))[0]) + statistics.zeros * max(mean, 0.0)
    variance = values.mean_square * share - mean**2
    return mean, 2.0 * shortfall / statistics.count, math.sqrt(max(variance, 0.0))


def clipping_distance(
    mean_deviation: npt.ArrayLike, deviation: npt.ArrayLike, bits: int, distribution: str = "auto"
) -> DoubleArray:
    """Distance from the center at which to clip.

    Args:
        mean_deviation: mean absolute deviation from the center, of any shape.
        deviation: standard deviation, of the same shape.
        bits: M in the formulas above.
        distribution: one of ``DISTRIBUTIONS``.

    Raises:
        ConfigError: on another distribution.
    """
    if distribution not in DISTRIBUTIONS:
        raise ConfigError(f"distribution must be one of {', '.join(DISTRIBUTIONS)}, not {distribution!r}")
    laplace = np.multiply(mean_deviation, laplace_multiple(bits), dtype=np.float64)
    gauss = np.multiply(deviation, gauss_multiple(bits), dtype=np.float64)
    # Entropies of the fitted distributions: log(2 e b) and log(2 pi e d^2) / 2; the smaller fits better.
    fits_laplace = 2.0 * np.asarray(mean_deviation) < math.sqrt(2.0 * math.pi / math.e) * np.asarray(deviation)
    return {"laplace": laplace, "gauss": gauss, "auto": np.where(fits_laplace, laplace, gauss)}[distribution]


@cache
def laplace_multiple(bits: int) -> float:
    """The optimal a / b: the root of (a / b) exp(a / b) = 3 * 4^M."""
    return _root(lambda a: a / (3.0 * 4.0**bits) - math.exp(-a))


@cache
def gauss_multiple(bits: int) -> float:
    """The optimal a / d, where the derivative of the error above vanishes."""
    density_at_zero = math.sqrt(2.0 / math.pi)
    return _root(
        lambda a: a * math.erfc(a / math.sqrt(2.0)) - density_at_zero * math.exp(-a * a / 2.0) + a / (3.0 * 4.0**bits)
    )


def _root(increasing: Callable[[float], float]) -> float:
    low, high = 0.0, 64.0
    for _ in range(100):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if increasing(middle) < 0.0 else (low, middle)
    return 0.5 * (low + high)
