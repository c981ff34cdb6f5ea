import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autocompress.data import as_classes, check_labels, split_groups, split_samples
from autocompress.errors import DataError


@settings(max_examples=80, deadline=None)
@given(n=st.integers(12, 600), seed=st.integers(0, 5), classes=st.integers(1, 30), separate=st.booleans())
def test_parts_are_disjoint_complete_sized_and_repeatable(n, seed, classes, separate):
    labels = np.random.default_rng(seed).integers(0, classes, n)
    own = 200 if separate else None
    split = split_samples(n, seed, separate_calibration=own, labels=labels)
    parts = [split.search, split.verification] + ([] if separate else [split.calibration])
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(n))
    assert min(map(len, parts)) >= 4
    assert len(split.verification) >= len(split.search)
    assert len(split.calibration) == (128 if separate else min(128, max(4, int(0.3 * n))))
    again = split_samples(n, seed, separate_calibration=own, labels=labels)
    for name in ("calibration", "search", "verification"):
        np.testing.assert_array_equal(getattr(split, name), getattr(again, name))


@settings(max_examples=40, deadline=None)
@given(n=st.integers(60, 500), seed=st.integers(0, 5), classes=st.integers(2, 6))
def test_classes_are_shared_out_in_proportion(n, seed, classes):
    labels = np.sort(np.random.default_rng(seed).integers(0, classes, n))
    split = split_samples(n, seed, labels=labels)
    for part in (split.calibration, split.search, split.verification):
        found = np.bincount(labels[part], minlength=classes)
        expected = np.bincount(labels, minlength=classes) * len(part) / n
        assert np.abs(found - expected).max() < 2.5


def test_any_beginning_of_a_part_is_a_fair_sample():
    labels = np.repeat(np.arange(4), 250)  # sorted by class, as image folders are
    early = split_samples(1000, 0, labels=labels).search[:64]
    assert np.bincount(labels[early], minlength=4).min() >= 5


def test_seeds_differ_and_float_labels_do_not_stratify():
    assert not np.array_equal(split_samples(100, 0).search, split_samples(100, 1).search)
    np.testing.assert_array_equal(
        split_samples(100, 0).search, split_samples(100, 0, labels=np.random.rand(100)).search
    )


@pytest.mark.parametrize(("n", "separate", "needed"), [(11, None, 12), (7, 64, 8), (0, None, 12)])
def test_too_few_samples(n, separate, needed):
    with pytest.raises(DataError, match=f"{needed} are needed"):
        split_samples(n, 0, separate_calibration=separate)


def test_empty_calibration_data():
    with pytest.raises(DataError, match="calibration data holds no samples"):
        split_samples(100, 0, separate_calibration=0)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.array([1, 0, 2]), [1, 0, 2]),
        (np.array([[1], [0]], np.uint8), [1, 0]),
        (np.array([1.0, 3.0]), [1, 3]),
        (np.eye(3)[[2, 0]], [2, 0]),
        (np.array([True, False]), [1, 0]),
        (np.array([0.5, 1.0]), None),
        (np.array([[0.5, 0.5]]), None),
        (np.zeros((2, 3, 3), int), None),
        (np.array([np.nan, 1.0]), None),
    ],
)
def test_what_counts_as_classes(labels, expected):
    found = as_classes(labels)
    assert (None if found is None else found.tolist()) == expected


def test_labels_out_of_range():
    check_labels(np.array([0, 9]), 10)
    with pytest.raises(DataError, match=r"Label 10 at sample 1 .* 0 to 9"):
        check_labels(np.array([0, 10]), 10)
    with pytest.raises(DataError, match="Label -1"):
        check_labels(np.array([0, -1]), 10)
    with pytest.raises(DataError, match="count from 1"):
        check_labels(np.array([1, 2, 3]), 3)
    check_labels(np.array([[0, 255], [-1, 2]]), 3, maps=True)
    with pytest.raises(DataError, match="Label 7 at sample 1"):
        check_labels(np.array([[0, 1], [7, 2]]), 3, maps=True)


def test_groups_stay_together():
    groups = np.repeat(np.arange(40), 2)[np.random.default_rng(3).permutation(80)]
    split = split_groups(groups, 0)
    parts = (split.calibration, split.search, split.verification)
    assert sorted(np.concatenate(parts)) == list(range(80))
    members = [set(groups[part].tolist()) for part in parts]
    assert all(not (a & b) for i, a in enumerate(members) for b in members[i + 1 :])
    assert all(members)


def test_groups_of_a_separate_calibration_set():
    split = split_groups(np.repeat(np.arange(20), 2), 1, separate_calibration=10)
    assert sorted(split.calibration) == list(range(10))
    assert len(split.search) + len(split.verification) == 40


def test_groups_need_one_value_per_sample():
    with pytest.raises(DataError, match="groups"):
        split_groups(np.zeros((8, 2)), 0)
