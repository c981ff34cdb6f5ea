"""Each range algorithm against a reference written independently, on the raw values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from calibration_distributions import CONTINUOUS, make, quantized
from scipy import optimize, stats

from autocompress.calibration.observer import TensorObserver, statistics_of
from autocompress.calibration.ranges import TensorRange, compute_range
from autocompress.calibration.ranges.aciq import gauss_multiple, laplace_multiple
from autocompress.calibration.ranges.density import Density, density, magnitude_counts, magnitude_density
from autocompress.calibration.ranges.errors import mean_absolute_error, mean_squared_error
from autocompress.calibration.ranges.kl import kept_bins

FORMS = [(8, False, False), (4, False, False), (8, True, True), (4, True, True), (8, True, False)]


def ranged(
    values: np.ndarray, algorithm: str, bits: int = 8, symmetric: bool = False, signed: bool = False, **more: float
) -> TensorRange:
    return compute_range(statistics_of(values), algorithm, bits=bits, symmetric=symmetric, signed=signed, **more)


def is_mirrored(values: np.ndarray, symmetric: bool, signed: bool) -> bool:
    return symmetric and (signed or bool(values.min() < 0))


def exhaustive(values: np.ndarray, bits: int, mirrored: bool, power: int) -> float:
    """The least mean error over a dense scan of clipping thresholds, by quantizing every value."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    one_sided = mirrored or low == 0.0 or high == 0.0
    if one_sided:
        fractions = np.linspace(0.02, 1.0, 491)
        pairs = [(f, f) for f in fractions]
    else:
        fractions = np.linspace(0.02, 1.0, 50)
        pairs = [(a, b) for a in fractions for b in fractions]
    thinned = values if one_sided else np.concatenate([values[::8], [values.min(), values.max()]])
    errors = [np.abs(quantized(thinned, low * a, high * b, bits, mirrored) - thinned) ** power for a, b in pairs]
    best = pairs[int(np.argmin([error.mean() for error in errors]))]
    return float((np.abs(quantized(values, low * best[0], high * best[1], bits, mirrored) - values) ** power).mean())


@pytest.mark.parametrize(("bits", "symmetric", "signed"), FORMS)
@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize(("algorithm", "power"), [("mse", 2), ("emd", 1)])
def test_least_error_against_an_exhaustive_scan(
    algorithm: str, power: int, name: str, bits: int, symmetric: bool, signed: bool
) -> None:
    values = make(name)
    values = values / np.abs(values).max()
    mirrored = is_mirrored(values, symmetric, signed)
    result = ranged(values, algorithm, bits, symmetric, signed)
    error = float((np.abs(quantized(values, result.low, result.high, bits, mirrored) - values) ** power).mean())
    assert error <= 1.01 * exhaustive(values, bits, mirrored, power)


@pytest.mark.parametrize("name", ["gauss", "swish", "heavy", "relu"])
def test_emd_minimises_the_wasserstein_distance(name: str) -> None:
    values = make(name)[:2000]
    result = ranged(values, "emd", 4)
    low, high = min(float(values.min()), 0.0), float(values.max())

    def distance(range_low: float, range_high: float) -> float:
        return float(stats.wasserstein_distance(values, quantized(values, range_low, range_high, 4, False)))

    best = min(distance(low * a, high * b) for a in np.linspace(0.1, 1, 10) for b in np.linspace(0.1, 1, 10))
    assert distance(result.low, result.high) <= 1.01 * best


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize(("steps", "fraction"), [(15, 0.4), (255, 0.9), (255, 1.0), (65535, 0.7), (65535, 1.0)])
def test_errors_of_a_grid_match_the_values(name: str, steps: int, fraction: float) -> None:
    values = make(name).astype(np.float64)
    values = (values / np.abs(values).max()).astype(np.float32).astype(np.float64)
    distribution = density(statistics_of(values))
    low, high = min(values.min(), 0.0) * fraction, max(values.max(), 0.0) * fraction
    step = (high - low) / steps
    lowest = np.round(low / step) * step
    rounded = np.clip(np.round((values - lowest) / step), 0, steps) * step + lowest
    nonzero = values != 0
    error = np.abs(rounded - values)[nonzero]
    arguments = (distribution, np.array([lowest]), np.array([step]), steps)
    # Inside a bin the histogram knows nothing: an error of a fraction of a bin per clipped value must be allowed.
    width = statistics_of(values).histogram.width
    assert mean_absolute_error(*arguments)[0] == pytest.approx(error.mean(), rel=0.02, abs=0.02 * width)
    assert mean_squared_error(*arguments)[0] == pytest.approx((error**2).mean(), rel=0.04, abs=(0.2 * width) ** 2)


def test_density_integrals_of_a_known_distribution() -> None:
    """Ten values spread over [1, 3) and 30 over [3, 4): everything follows by hand."""
    known = Density(np.array([5, 5, 30]), 1, 1.0, 1.0, 4.0)
    points = np.array([0.0, 1.0, 2.0, 3.5, 4.0, 5.0])
    np.testing.assert_allclose(known.below(points), [0, 0, 5, 25, 40, 40])
    np.testing.assert_allclose(known.shortfall(points), [0, 0, 2.5, 10 * 1.5 + 15 * 0.25, 35, 75])
    np.testing.assert_allclose(known.squares_below(np.array([2.0, 3.0])), [5 / 3, 5 * 8 / 3])
    np.testing.assert_allclose(known.squares_above(np.array([3.0, 4.0, 9.0])), [10.0, 0.0, 0.0], atol=1e-9)
    assert known.mean == pytest.approx((5 * 1.5 + 5 * 2.5 + 30 * 3.5) / 40)
    assert known.ranked(25.0) == pytest.approx(3.5)


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("percentile", [99.0, 99.9, 100.0])
def test_percentile_against_numpy(name: str, percentile: float) -> None:
    values = make(name)
    width = statistics_of(values).histogram.width
    result = ranged(values, "percentile", percentile=percentile)
    beyond = 100.0 - percentile
    one_sided = values.min() >= 0 or values.max() <= 0
    low = 0.0 if values.min() >= 0 else np.percentile(values, beyond if one_sided else beyond / 2)
    high = 0.0 if values.max() <= 0 else np.percentile(values, 100 - (beyond if one_sided else beyond / 2))
    # Between order statistics any point is a quantile.
    gaps = np.diff(np.sort(values))[[*range(300), *range(-300, 0)]]
    slack = 2 * width + (float(gaps.max()) if percentile < 100 else 0.0)
    assert result.low == pytest.approx(min(low, 0.0), abs=slack)
    assert result.high == pytest.approx(max(high, 0.0), abs=slack)
    mirrored = ranged(values, "percentile", symmetric=True, signed=True, percentile=percentile)
    assert mirrored.high == pytest.approx(np.percentile(np.abs(values), percentile), abs=slack)


def direct_kl(counts: np.ndarray, levels: int) -> int:
    """TensorRT's description, bin by bin."""
    best, best_divergence = counts.size, math.inf
    for kept in range(levels, counts.size + 1):
        reference = counts[:kept].astype(np.float64)
        beyond = float(counts[kept:].sum())
        candidate = np.zeros(kept)
        for level in range(levels):
            start, stop = -(-level * kept // levels), -(-(level + 1) * kept // levels)
            part = reference[start:stop]
            occupied = np.count_nonzero(part)
            if occupied:
                candidate[start:stop] = np.where(part > 0, part.sum() / occupied, 0.0)
        reference[-1] += beyond
        p, q = reference / reference.sum(), candidate / max(candidate.sum(), 1e-300)
        if ((p > 0) & (q == 0)).any():
            continue
        mask = p > 0
        divergence = float((p[mask] * np.log(p[mask] / q[mask])).sum())
        if divergence < best_divergence - 1e-12:
            best, best_divergence = kept, divergence
    return best


@pytest.mark.parametrize(
    ("name", "levels"), [("gauss", 128), ("relu", 256), ("heavy", 128), ("outlier", 16), ("laplace", 8)]
)
def test_kl_against_a_direct_implementation(name: str, levels: int) -> None:
    counts = magnitude_counts(statistics_of(make(name)))
    pooled = np.pad(counts, (0, -counts.size % 8)).reshape(-1, 8).sum(axis=1)
    assert kept_bins(pooled, levels) == direct_kl(pooled, levels)


def test_kl_with_gaps_and_with_fewer_bins_than_levels() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        counts = rng.poisson(0.4, 90) * rng.integers(1, 50, 90)
        counts[-1] = 1
        assert kept_bins(counts, 16) == direct_kl(counts, 16)
    assert kept_bins(np.array([3, 1, 2]), 16) == 3


def test_kl_on_a_known_distribution_agrees_with_2048_bins() -> None:
    values = np.random.default_rng(0).laplace(size=500_000).astype(np.float32)
    counts, edges = np.histogram(np.abs(values), 2048)
    expected = edges[kept_bins(counts, 128)]
    assert ranged(values, "kl", symmetric=True, signed=True).high == pytest.approx(expected, rel=0.1)


def test_kl_clips_outliers_and_keeps_a_uniform_distribution() -> None:
    rng = np.random.default_rng(0)
    uniform = rng.uniform(-1.0, 1.0, 200_000)
    assert ranged(uniform, "kl", symmetric=True, signed=True).high > 0.97
    with_tail = np.concatenate([uniform, rng.uniform(1.0, 40.0, 40)])
    assert ranged(with_tail, "kl", 4, symmetric=True, signed=True).high < 8.0
    assert ranged(make("swish"), "kl").low == pytest.approx(float(make("swish").min()), rel=1e-2)


# Optimal clipping multiples printed in the paper's tables (bits: Gauss, Laplace).
PUBLISHED = {2: (1.71, 2.83), 3: (2.15, 3.89), 4: (2.55, 5.03), 5: (2.93, 6.20), 6: (3.28, 7.41), 8: (3.92, 9.90)}


@pytest.mark.parametrize("bits", PUBLISHED)
def test_aciq_multiples_are_the_published_ones(bits: int) -> None:
    gauss, laplace = PUBLISHED[bits]
    assert gauss_multiple(bits) == pytest.approx(gauss, abs=0.011)
    assert laplace_multiple(bits) == pytest.approx(laplace, abs=0.011)


@pytest.mark.parametrize("bits", [4, 8])
def test_aciq_multiples_minimise_the_integrated_error(bits: int) -> None:
    def error(clip: float, distribution: stats.rv_continuous) -> float:
        outside = distribution.expect(lambda x: (x - clip) ** 2, lb=clip, ub=np.inf)
        return 2 * outside + clip**2 / (3 * 4**bits)

    for found, distribution in ((gauss_multiple(bits), stats.norm), (laplace_multiple(bits), stats.laplace)):
        best = optimize.minimize_scalar(lambda a: error(a, distribution), bounds=(0.5, 14), method="bounded")  # noqa: B023
        assert found == pytest.approx(best.x, rel=1e-2)


def test_aciq_recognises_distributions() -> None:
    rng = np.random.default_rng(0)
    gauss, laplace = rng.standard_normal(400_000), rng.laplace(size=400_000)
    symmetric = {"symmetric": True, "signed": True}
    assert ranged(gauss * 3, "aciq", 4, **symmetric).high == pytest.approx(3 * gauss_multiple(4), rel=0.01)
    assert ranged(laplace * 3, "aciq", 4, **symmetric).high == pytest.approx(3 * laplace_multiple(4), rel=0.01)
    # Half of a distribution, its zeros being the other half, has one bit more.
    assert ranged(np.maximum(gauss, 0), "aciq", 4).high == pytest.approx(gauss_multiple(5), rel=0.01)
    shifted = ranged(gauss * 0.5 + 1.0, "aciq", 4)
    assert shifted.high == pytest.approx(1.0 + 0.5 * gauss_multiple(4), rel=0.01)
    assert shifted.low == pytest.approx(1.0 - 0.5 * gauss_multiple(4), rel=0.05)
    forced = compute_range(statistics_of(gauss), "aciq", bits=4, symmetric=True, signed=True, distribution="laplace")
    assert forced.high == pytest.approx(laplace_multiple(4) * math.sqrt(2 / math.pi), rel=0.01)


def test_extremes() -> None:
    values = np.array([[-1.0, 4.0], [-3.0, 2.0], [-2.0, 9.0]], np.float32)
    observer = TensorObserver("t")
    observer.update(values, 3)
    statistics = observer.statistics()
    asymmetric, symmetric = {"symmetric": False, "signed": False}, {"symmetric": True, "signed": True}
    assert compute_range(statistics, "min_max", bits=8, **asymmetric) == TensorRange(-3.0, 9.0)
    assert compute_range(statistics, "abs_max", bits=8, **asymmetric) == TensorRange(-9.0, 9.0)
    assert compute_range(statistics, "moving_average", bits=8, **asymmetric) == TensorRange(-2.0, 5.0)
    assert compute_range(statistics, "moving_average", bits=8, **symmetric) == TensorRange(-5.0, 5.0)
    positive = statistics_of(np.array([2.0, 3.0]))
    assert compute_range(positive, "abs_max", bits=8, **asymmetric) == TensorRange(0.0, 3.0)
    assert compute_range(positive, "min_max", bits=8, **symmetric) == TensorRange(-3.0, 3.0)
    assert compute_range(positive, "min_max", bits=8, symmetric=True, signed=False) == TensorRange(0.0, 3.0)


def test_magnitudes_of_negative_values_on_bin_edges() -> None:
    """-5 lies on an edge and belongs to the bin below it, so its magnitude ends a bin instead of starting one."""
    folded = magnitude_density(statistics_of(np.full(4, -5.0)))
    assert folded.mean == pytest.approx(5.0, rel=1e-6)
    assert folded.total == 4
