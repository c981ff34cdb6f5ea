"""The histogram is exact: order and grouping of the values never show."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autocompress.calibration.exact_sum import ExactSum
from autocompress.calibration.histogram import (
    BINS,
    HALF,
    MINIMUM_EXPONENT,
    Histogram,
    HistogramBuilder,
    Scratch,
    coarsened,
    width_exponent,
)

# Denormals are left out where results are compared with Python's arithmetic: a runtime loaded in this process may have
# switched the processor to flushing them.
normal_floats = st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False)


def counted(*parts: np.ndarray) -> Histogram:
    builder = HistogramBuilder(Scratch())
    for part in parts:
        values = np.asarray(part, np.float32).reshape(-1)
        if values.size:
            builder.update(values, float(np.abs(values).max()))
    return builder.histogram()


def same(a: Histogram, b: Histogram) -> bool:
    return a.exponent == b.exponent and bool((a.counts == b.counts).all())


def reference(values: list[float]) -> Histogram:
    """Counts with Python integers: the bin of x at width 2**e is floor(x / 2**e), exactly."""
    exponent = width_exponent(max((abs(v) for v in values), default=0.0))
    counts = np.zeros(BINS, np.int64)
    for value in values:
        numerator, denominator = value.as_integer_ratio()
        if exponent >= 0:
            denominator <<= exponent
        else:
            numerator <<= -exponent
        counts[numerator // denominator + HALF] += 1
    return Histogram(exponent, counts)


@given(st.lists(normal_floats, max_size=40))
def test_bins_are_exact(values: list[float]) -> None:
    assert same(counted(np.array(values, np.float32)), reference(values))


@given(st.lists(st.lists(normal_floats, max_size=12), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_order_and_grouping_do_not_matter(parts: list[list[float]], random: object) -> None:
    arrays = [np.array(part, np.float32) for part in parts]
    shuffled = list(arrays)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    whole = counted(np.concatenate(arrays))
    assert same(counted(*shuffled), whole)
    merged = Histogram.empty()
    for array in shuffled:
        merged = merged.merge(counted(array))
    assert same(merged, whole)


@given(*[st.lists(normal_floats, max_size=8)] * 3)
def test_merge_is_associative_and_commutative(a: list[float], b: list[float], c: list[float]) -> None:
    x, y, z = (counted(np.array(part, np.float32)) for part in (a, b, c))
    assert same(x.merge(y).merge(z), x.merge(y.merge(z)))
    assert same(x.merge(y), y.merge(x))
    assert same(x.merge(Histogram.empty()), x)


def test_matches_numpy_on_real_sizes() -> None:
    values = np.random.default_rng(0).standard_normal(200_000).astype(np.float32)
    values[::3] = 0.0
    histogram = counted(values)
    expected, _ = np.histogram(values.astype(np.float64), histogram.edges())
    assert (histogram.counts == expected).all()
    assert histogram.total == values.size


def test_zero_is_an_edge() -> None:
    histogram = counted(np.array([-1e-6, 0.0, -0.0, 1e-6, 3.0]))
    assert histogram.edges()[HALF] == 0.0
    assert histogram.counts[HALF - 1] == 1
    assert histogram.counts[HALF] == 3


def test_the_smallest_negative_value_stays_below_zero_beside_huge_ones() -> None:
    # -2**-126 divided by the width underflows to minus zero.
    assert counted(np.array([-(2.0**-126), 3e38])).counts[HALF - 1] == 1


def test_growth_keeps_at_least_half_of_a_side_in_use() -> None:
    for peak in (1e-30, 0.7, 1.0, 1023.9, 3e38):
        histogram = counted(np.array([peak]))
        assert HALF // 2 <= int(np.flatnonzero(histogram.counts)[0]) - HALF < HALF


def test_denormals_and_zeros_fit() -> None:
    histogram = counted(np.array([0.0, 1e-42, -1e-42, 2.0**-126]))
    assert histogram.exponent >= MINIMUM_EXPONENT
    assert histogram.total == 4


def test_coarsening_far_leaves_two_bins() -> None:
    counts = np.ones(BINS, np.int64)
    far = coarsened(counts, 1000)
    assert far[HALF - 1] == far[HALF] == HALF
    assert far.sum() == BINS
    with pytest.raises(ValueError, match="refined"):
        coarsened(counts, -1)


@settings(max_examples=50)
@given(st.lists(normal_floats, max_size=30))
def test_exact_sum_is_exact(values: list[float]) -> None:
    total = ExactSum()
    backwards = ExactSum()
    for value in values:
        total = total.plus(value)
    for value in reversed(values):
        backwards = ExactSum().plus(value).merge(backwards)
    assert total == backwards == ExactSum.from_bytes(total.to_bytes())
    expected = sum((Fraction(value) for value in values), Fraction(0))
    assert total.units == expected * 2**149
    assert total.mean(1) == float(expected)


def test_exact_sum_holds_millions_of_the_largest_values() -> None:
    largest = float(np.finfo(np.float32).max)
    total = ExactSum(ExactSum().plus(largest).units << 40)
    assert ExactSum.from_bytes(total.to_bytes()).mean(1 << 40) == largest
