"""Range algorithms: from finished statistics to the interval that a quantized tensor represents.

Each algorithm is one file and is listed once, in ``ALGORITHMS``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from inspect import signature
from types import MappingProxyType
from typing import Any

from autocompress.calibration.ranges.abs_max import abs_max
from autocompress.calibration.ranges.aciq import aciq
from autocompress.calibration.ranges.emd import emd
from autocompress.calibration.ranges.form import GridForm, TensorRange
from autocompress.calibration.ranges.kl import kl
from autocompress.calibration.ranges.min_max import min_max
from autocompress.calibration.ranges.moving_average import moving_average
from autocompress.calibration.ranges.mse import mse
from autocompress.calibration.ranges.percentile import percentile
from autocompress.calibration.statistics import TensorStatistics
from autocompress.errors import ConfigError, DataError

__all__ = ["ALGORITHMS", "Algorithm", "GridForm", "TensorRange", "check_algorithm", "compute_range", "parameters_of"]


# (statistics, form, **own parameters) -> range; only called for tensors with at least one value that is not zero.
Algorithm = Callable[..., TensorRange]

ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType(
    {
        "abs_max": abs_max,
        "min_max": min_max,
        "moving_average": moving_average,
        "percentile": percentile,
        "kl": kl,
        "mse": mse,
        "emd": emd,
        "aciq": aciq,
    }
)


def compute_range(
    statistics: TensorStatistics,
    algorithm: str,
    *,
    bits: int,
    symmetric: bool,
    signed: bool,
    **parameters: Any,
) -> TensorRange:
    """The range of a tensor; it always includes zero and never reaches beyond values that were seen.

    Args:
        statistics: of the tensor.
        algorithm: a key of ``ALGORITHMS``.
        bits: bits of the integers, 2 to 16.
        symmetric: whether the zero point is fixed.  The range is then [-t, t], except on an unsigned grid where no
            value is negative: there it is [0, t].
        signed: whether the integers have a sign.
        **parameters: of the algorithm, e.g. ``percentile=99.999``.

    Raises:
        ConfigError: when the algorithm, a parameter or the number of bits is unknown or out of bounds.
        DataError: when the tensor had no values.
    """
    check_algorithm(algorithm, parameters)
    form = GridForm(bits, symmetric, signed)
    if statistics.count == 0:
        raise DataError("a tensor had no values during calibration, so it has no range; give other samples")
    if statistics.abs_max == 0.0:
        return TensorRange(0.0, 0.0)
    return ALGORITHMS[algorithm](statistics, form, **parameters)


def check_algorithm(algorithm: str, parameters: Collection[str] = ()) -> None:
    """Refuses unknown algorithms and parameters.

    Raises:
        ConfigError: naming what there is.
    """
    if algorithm not in ALGORITHMS:
        raise ConfigError(f"range algorithm {algorithm!r} is unknown; choose one of {', '.join(ALGORITHMS)}")
    unknown = sorted(set(parameters) - set(parameters_of(algorithm)))
    if unknown:
        known = ", ".join(parameters_of(algorithm)) or "none"
        raise ConfigError(f"range algorithm {algorithm!r} has no parameter {unknown[0]!r}; it has: {known}")


def parameters_of(algorithm: str) -> tuple[str, ...]:
    """Names of the keyword parameters of an algorithm."""
    found = signature(ALGORITHMS[algorithm]).parameters.values()
    return tuple(parameter.name for parameter in found if parameter.kind is parameter.KEYWORD_ONLY)
