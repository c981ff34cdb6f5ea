"""The front and its hypervolume against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocompress.search.pareto import front, hypervolume, improvements

COORDINATE = st.integers(0, 12).map(float)
POINTS = st.lists(st.tuples(COORDINATE, COORDINATE), max_size=12)
REFERENCE = st.tuples(COORDINATE, COORDINATE)


def dominates(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[0] <= b[0] and a[1] <= b[1] and a != b


def area(points: list[tuple[float, float]], reference: tuple[float, float]) -> float:
    """Dominated unit cells of the integer grid below the reference."""
    x, y = np.arange(int(reference[0])), np.arange(int(reference[1]))
    covered = np.zeros((len(x), len(y)), bool)
    for px, py in points:
        covered |= (x[:, None] >= px) & (y[None, :] >= py)
    return float(covered.sum())


@given(POINTS)
def test_the_front_is_what_nothing_dominates(points: list[tuple[float, float]]) -> None:
    kept = front(points)
    expected = {p for p in points if not any(dominates(q, p) for q in points)}
    assert {points[i] for i in kept} == expected
    assert len(kept) == len(expected)
    assert kept == sorted(kept, key=lambda i: points[i][0])
    assert all(points.index(points[i]) == i for i in kept)


@given(POINTS, REFERENCE)
def test_hypervolume(points: list[tuple[float, float]], reference: tuple[float, float]) -> None:
    assert hypervolume(points, reference) == area(points, reference)


@given(POINTS, POINTS, REFERENCE)
def test_improvements(
    candidates: list[tuple[float, float]], points: list[tuple[float, float]], reference: tuple[float, float]
) -> None:
    found = improvements(np.array(candidates, float).reshape(-1, 2), points, reference)
    expected = [area([*points, c], reference) - area(points, reference) for c in candidates]
    np.testing.assert_allclose(found, expected)


def test_fractions_and_the_edge_of_the_reference() -> None:
    assert hypervolume([(0.25, 1.5), (0.5, 0.5)], (1.0, 2.0)) == pytest.approx(0.75 * 0.5 + 0.5 * 1.0)
    assert hypervolume([(1.0, 0.0), (0.0, 2.0)], (1.0, 2.0)) == 0.0
    assert hypervolume([(-1.0, 1.0)], (1.0, 2.0)) == 2.0
    assert front([]) == []
