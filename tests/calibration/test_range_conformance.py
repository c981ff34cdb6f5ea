"""What every range algorithm promises, on every distribution and every form of grid."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from calibration_distributions import CONTINUOUS, DEGENERATE, make

from autocompress.calibration.observer import statistics_of
from autocompress.calibration.ranges import ALGORITHMS, TensorRange, check_algorithm, compute_range, parameters_of
from autocompress.calibration.scheme import MINIMUM_SCALE, Scheme, quantization_parameters
from autocompress.calibration.statistics import TensorStatistics
from autocompress.errors import ConfigError, DataError

SCHEMES = [
    Scheme(dtype, symmetric) for dtype in ("uint8", "int8", "uint4", "int4", "uint16", "int16") for symmetric in (0, 1)
]


def found(values: np.ndarray, algorithm: str, scheme: Scheme, **parameters: Any) -> TensorRange:
    return compute_range(
        statistics_of(values),
        algorithm,
        bits=scheme.bits,
        symmetric=bool(scheme.symmetric),
        signed=scheme.signed,
        **parameters,
    )


@pytest.mark.parametrize("name", [*CONTINUOUS, *DEGENERATE])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_range_is_usable(algorithm: str, name: str) -> None:
    values = make(name)
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    bound = max(-low, high)
    for scheme in SCHEMES:
        result = found(values, algorithm, scheme)
        assert math.isfinite(result.low)
        assert result.low <= 0.0 <= result.high
        if scheme.symmetric and (scheme.signed or low < 0.0):
            assert result.low == -result.high
            assert result.high <= bound
        elif algorithm != "abs_max":
            assert low <= result.low
            assert result.high <= high
        if abs(bound) > 1e-37:
            assert result.high > result.low, "a tensor that is not zero keeps some range"
        scale, zero_point = quantization_parameters(result.low, result.high, scheme)
        assert np.isfinite(scale)
        assert scale >= MINIMUM_SCALE
        assert scheme.qmin <= zero_point <= scheme.qmax


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("name", ["constant", "negative_constant", "single"])
def test_a_single_value_is_represented(algorithm: str, name: str) -> None:
    values = make(name)
    for scheme in SCHEMES:
        result = found(values, algorithm, scheme)
        assert max(-result.low, result.high) == abs(float(values[0]))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_zeros_have_the_empty_range(algorithm: str) -> None:
    assert found(make("zeros"), algorithm, SCHEMES[0]) == TensorRange(0.0, 0.0)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("name", ["gauss", "relu", "heavy"])
def test_powers_of_two_scale_the_range_exactly(algorithm: str, name: str) -> None:
    values = make(name)
    plain = found(values, algorithm, SCHEMES[0])
    scaled = found(values * np.float32(2.0**-9), algorithm, SCHEMES[0])
    assert scaled.low == pytest.approx(plain.low * 2.0**-9, rel=1e-9)
    assert scaled.high == pytest.approx(plain.high * 2.0**-9, rel=1e-9)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_negation_mirrors_one_sided_ranges(algorithm: str) -> None:
    values = make("relu")
    up, down = found(values, algorithm, SCHEMES[0]), found(-values, algorithm, SCHEMES[0])
    # Bins include their lower edge on both sides of zero, so a value on an edge may change bins.
    assert down.low == pytest.approx(-up.high, rel=2e-3)
    assert (up.low, down.high) == (0.0, 0.0)


@pytest.mark.parametrize("algorithm", ["percentile", "kl", "mse", "emd", "aciq"])
@pytest.mark.parametrize("share", [0.5, 0.9999])
def test_exact_zeros_do_not_collapse_the_range(algorithm: str, share: float) -> None:
    values = np.zeros(100_000, np.float32)
    kept = round((1 - share) * values.size)
    values[:kept] = np.random.default_rng(0).uniform(1.0, 2.0, kept)
    assert found(values, algorithm, SCHEMES[0]).high >= 0.9


def test_unknown_names_and_parameters() -> None:
    with pytest.raises(ConfigError, match="abs_max, min_max"):
        check_algorithm("nosuch")
    with pytest.raises(ConfigError, match=r"no parameter 'percent'; it has: percentile"):
        found(make("gauss"), "percentile", SCHEMES[0], percent=99.0)
    with pytest.raises(ConfigError, match="it has: none"):
        found(make("gauss"), "min_max", SCHEMES[0], percentile=99.0)
    with pytest.raises(ConfigError, match="2 to 16"):
        compute_range(statistics_of(make("gauss")), "min_max", bits=32, symmetric=True, signed=True)
    for wrong in (0.0, 100.5, -1.0, "99"):
        with pytest.raises(ConfigError, match="percentile must be"):
            found(make("gauss"), "percentile", SCHEMES[0], percentile=wrong)
    with pytest.raises(ConfigError, match="gauss, laplace"):
        found(make("gauss"), "aciq", SCHEMES[0], distribution="cauchy")
    assert parameters_of("aciq") == ("distribution",)


def test_no_values_have_no_range() -> None:
    with pytest.raises(DataError, match="no values"):
        compute_range(TensorStatistics(), "min_max", bits=8, symmetric=False, signed=False)


@pytest.mark.parametrize(("low", "high"), [(0.5, 1.0), (-1.0, -0.5), (-math.inf, 1.0), (0.0, math.nan)])
def test_impossible_ranges_cannot_be_made(low: float, high: float) -> None:
    with pytest.raises(DataError):
        TensorRange(low, high)
