"""Axes of tensors: how reshapes align, split and merge them, and what stays of them."""

from __future__ import annotations

import numpy as np
import pytest

from autocompress.graph.channels.axis import Axis, joined, partition, product
from autocompress.graph.channels.regrouping import aligned, common_factors


def axis(*labels: int) -> Axis:
    return Axis(np.array(labels, np.int64)[:, None], np.arange(len(labels)))


@pytest.mark.parametrize(
    ("before", "after", "blocks", "rest"),
    [
        (("n", 8, 6, 6), ("n", 288), [([1, 2, 3], [1]), ([0], [0])], ([], [])),
        (("n", 5, 12), ("n", 5, 3, 4), [([2], [2, 3]), ([1], [1]), ([0], [0])], ([], [])),
        ((None, 12), (None, 3, 4), [([1], [1, 2])], ([0], [0])),
        (("n", 1, 12), ("n", 12, 1), [([2], [1]), ([0], [0])], ([], [])),
        (("n", 12), ("m", None, 4), [], ([0, 1], [0, 1, 2])),
        (("n", 12), ("n", None, 4), [([0], [0])], ([1], [1, 2])),
    ],
)
def test_reshapes_are_aligned_from_both_ends(before, after, blocks, rest) -> None:
    assert aligned(before, after) == (blocks, rest)


def test_common_factors_are_the_coarsest() -> None:
    assert common_factors([12], [3, 4]) == [3, 4]
    assert common_factors([2, 6], [4, 3]) == [2, 2, 3]
    assert common_factors([4, 6], [6, 4]) is None


def test_products_lose_an_index_with_either_part() -> None:
    whole = product([axis(0, 1), axis(2, 3, 4)])
    gone = np.zeros(5, bool)
    gone[[1, 3]] = True
    np.testing.assert_array_equal(whole.removed(gone).reshape(2, 3), [[0, 1, 0], [1, 1, 1]])


def test_joined_axes_keep_their_labels_apart() -> None:
    both = joined([axis(0, 1), Axis.plain(1), product([axis(2, 3), axis(4, 5)])])
    assert both.size == 7
    gone = np.zeros(6, bool)
    gone[[0, 5]] = True
    np.testing.assert_array_equal(both.removed(gone), [1, 0, 0, 0, 1, 0, 1])
    np.testing.assert_array_equal(both.taken(np.array([6, -1, 0])).removed(gone), [1, 0, 1])


def test_equal_structures_have_equal_partitions() -> None:
    np.testing.assert_array_equal(partition(np.array([7, 7, -1, 3, 7])), partition(np.array([2, 2, -1, 9, 2])))
    assert partition(np.array([5, 4])).tolist() == [0, 1]
