"""Layouts say of rearranged tensors what rearranging the channel numbers themselves says."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autocompress.passes.equalize.layout import OUTSIDE, Layout

SIZES = st.lists(st.sampled_from((1, 2, 3, 4, 6)), min_size=1, max_size=4)


@st.composite
def tensors(draw):
    """Sizes of a tensor and a layout of it that changes along some of its axes."""
    sizes = draw(SIZES)
    shape = [size if draw(st.booleans()) else 1 for size in sizes]
    ids = draw(st.permutations(range(prod(shape))))
    return sizes, Layout(np.array(ids).reshape(shape))


def whole(layout: Layout, sizes) -> np.ndarray:
    return np.broadcast_to(layout.ids, sizes)


@st.composite
def regroupings(draw):
    """A tensor and other sizes for as many elements."""
    sizes, layout = draw(tensors())
    factors = [f for size in sizes for f in {1: (), 4: (2, 2), 6: (2, 3)}.get(size, (size,))]
    after = [1] * draw(st.integers(1, 4))
    for factor in factors:
        after[draw(st.integers(0, len(after) - 1))] *= factor
    return sizes, layout, after


@given(regroupings())
@settings(max_examples=300, deadline=None)
def test_reshape_with_known_sizes(case):
    sizes, layout, after = case
    result = layout.reshaped(sizes, after)
    assert result is not None
    np.testing.assert_array_equal(whole(result, after), whole(layout, sizes).reshape(after))


@given(regroupings(), st.data())
@settings(max_examples=300, deadline=None)
def test_reshape_with_unknown_sizes_is_right_or_refused(case, data):
    sizes, layout, after = case
    names = {size: f"s{size}" for size in {*sizes, *after}}

    def hidden(size):
        return data.draw(st.sampled_from((size, names[size], None)))

    result = layout.reshaped([hidden(size) for size in sizes], [hidden(size) for size in after])
    if result is not None:
        assert result.rank == len(after)
        np.testing.assert_array_equal(whole(result, after), whole(layout, sizes).reshape(after))


def test_reshape_of_heads_whose_number_is_not_written_down():
    layout = Layout.along(-1, 3, np.arange(12))
    apart = layout.reshaped(("n", "l", 12), ("n", "l", None, 4))
    np.testing.assert_array_equal(apart.ids, np.arange(12).reshape(1, 1, 3, 4))
    together = apart.permuted([0, 2, 1, 3]).permuted([0, 2, 1, 3]).reshaped((None, None, 3, 4), ("n", "l", 12))
    assert together == layout
    assert apart.reshaped((None, None, 3, 4), (None, None)) is None


@given(tensors(), st.data())
@settings(max_examples=200, deadline=None)
def test_other_rearrangements(case, data):
    sizes, layout = case
    perm = data.draw(st.permutations(range(len(sizes))))
    np.testing.assert_array_equal(
        whole(layout.permuted(perm), [sizes[i] for i in perm]), whole(layout, sizes).transpose(perm)
    )
    axis = data.draw(st.integers(0, len(sizes) - 1))
    start, stop = data.draw(st.integers(-7, 7)), data.draw(st.integers(-7, 7))
    step = data.draw(st.sampled_from((-2, -1, 1, 2)))
    index = (slice(None),) * axis + (slice(start, stop, step),)
    expected = whole(layout, sizes)[index]
    if expected.size:
        part = layout.part(axis, start, stop, step)
        np.testing.assert_array_equal(whole(part, expected.shape), expected)
    before, after = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    margins = [(0, 0)] * axis + [(before, after)] + [(0, 0)] * (len(sizes) - axis - 1)
    padded = np.pad(whole(layout, sizes), margins, constant_values=OUTSIDE)
    joined = Layout.joined([None, layout, None], [before, sizes[axis], after], axis)
    np.testing.assert_array_equal(whole(joined, padded.shape), padded)


def test_vectors():
    layout = Layout.along(1, 4, np.arange(5))
    np.testing.assert_array_equal(layout.vector(1, 5), np.arange(5))
    assert layout.vector(3, 7) is None
    assert Layout(np.zeros((1, 1), np.int64)).vector(-1, 3).tolist() == [0, 0, 0]
    assert layout.trailing(2) is None
    assert Layout.along(-1, 4, np.arange(5)).trailing(1) == Layout(np.arange(5))
    assert layout.fits((None, 5, 9, 9))
    assert not layout.fits((1, 1, 9, 9))
    with pytest.raises(TypeError):
        hash(layout)
