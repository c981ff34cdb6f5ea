"""What is learnt about a tensor, against numpy on all values at once; and that sharding does not show."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autocompress.calibration.observer import TensorObserver, statistics_of
from autocompress.calibration.ranges import ALGORITHMS, compute_range
from autocompress.calibration.statistics import Statistics, TensorStatistics
from autocompress.errors import DataError


def samples(count: int = 9, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    data = rng.standard_normal((count, 5, 4, 3)) * rng.lognormal(sigma=2.0, size=(count, 1, 1, 1))
    data[rng.random(data.shape) < 0.3] = 0.0
    return data.astype(np.float32)


def observed(data: np.ndarray, batch: int = 1, axis: int | None = 1) -> TensorStatistics:
    observer = TensorObserver("t", axis)
    for start in range(0, len(data), batch):
        part = data[start : start + batch]
        observer.update(part, len(part))
    return observer.statistics()


def assert_same(a: TensorStatistics, b: TensorStatistics) -> None:
    for name in ("count", "samples", "zeros", "minimum", "maximum", "sum_of_minima", "sum_of_maxima"):
        assert getattr(a, name) == getattr(b, name), name
    assert a.histogram.exponent == b.histogram.exponent
    assert (a.histogram.counts == b.histogram.counts).all()
    assert a.sum == pytest.approx(b.sum, rel=1e-12, abs=1e-12 * abs(a.abs_max) * a.count)
    assert a.sum_of_squares == pytest.approx(b.sum_of_squares, rel=1e-12)
    assert (a.channels is None) == (b.channels is None)
    if a.channels is not None and b.channels is not None:
        assert a.channels.axis == b.channels.axis
        assert a.channels.count == b.channels.count
        assert (a.channels.minimum == b.channels.minimum).all()
        assert (a.channels.maximum == b.channels.maximum).all()
        np.testing.assert_allclose(a.channels.sum, b.channels.sum, rtol=1e-12, atol=1e-12 * a.abs_max * a.count)
        np.testing.assert_allclose(a.channels.sum_of_squares, b.channels.sum_of_squares, rtol=1e-12)


@pytest.mark.parametrize("batch", [1, 2, 9])
def test_fields_match_numpy(batch: int) -> None:
    data = samples()
    found = observed(data, batch)
    exact = data.astype(np.float64)
    assert (found.count, found.samples, found.zeros) == (data.size, 9, int((data == 0).sum()))
    assert (found.minimum, found.maximum) == (data.min(), data.max())
    assert found.mean == pytest.approx(exact.mean(), rel=1e-9)
    assert found.variance == pytest.approx(exact.var(), rel=1e-9)
    assert found.mean_minimum == pytest.approx(exact.min(axis=(1, 2, 3)).mean(), rel=1e-15)
    assert found.mean_maximum == pytest.approx(exact.max(axis=(1, 2, 3)).mean(), rel=1e-15)
    channels = found.channels
    assert channels is not None
    assert found.channel_mean is not None
    np.testing.assert_allclose(found.channel_mean, exact.mean(axis=(0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(channels.variance, exact.var(axis=(0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(channels.second_moment, (exact**2).mean(axis=(0, 2, 3)), rtol=1e-6)
    assert (channels.abs_max == np.abs(data).max(axis=(0, 2, 3))).all()
    assert (channels.minimum == data.min(axis=(0, 2, 3))).all()


@pytest.mark.parametrize(("shape", "axis", "positive"), [((6, 7, 5), -1, 2), ((6, 7, 5), 1, 1), ((6, 8), 1, 1)])
def test_channel_axis(shape: tuple[int, ...], axis: int, positive: int) -> None:
    data = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    channels = observed(data, 2, axis).channels
    assert channels is not None
    assert channels.axis == positive
    others = tuple(i for i in range(len(shape)) if i != positive)
    assert (channels.maximum == data.max(axis=others)).all()
    np.testing.assert_allclose(channels.mean, data.astype(np.float64).mean(axis=others), rtol=1e-6, atol=1e-9)
    assert channels.count == data.size // shape[positive]


def test_channels_are_dropped_where_their_number_varies() -> None:
    observer = TensorObserver("t", 1)
    for length in (4, 5, 4):
        observer.update(np.ones((1, length), np.float32), 1)
    found = observer.statistics()
    assert found.channels is None
    assert found.count == 13


@given(seed=st.integers(0, 2**16), cuts=st.lists(st.integers(0, 9), max_size=4), order=st.permutations(range(9)))
@settings(max_examples=40, deadline=None)
def test_shards_and_permutations_give_the_same(seed: int, cuts: list[int], order: list[int]) -> None:
    data = samples(seed=seed)
    whole = observed(data)
    edges = [0, *sorted(cuts), 9]
    merged = TensorStatistics()
    for start, stop in itertools.pairwise(edges):
        merged = merged.merge(observed(data[order][start:stop]))
    assert_same(merged, whole)
    for algorithm in ALGORITHMS:
        form = {"bits": 8, "symmetric": False, "signed": False}
        assert compute_range(merged, algorithm, **form) == compute_range(whole, algorithm, **form)  # type: ignore[arg-type]


def test_merge_is_associative() -> None:
    a, b, c = (observed(samples(3, seed)) for seed in range(3))
    assert_same(a.merge(b).merge(c), a.merge(b.merge(c)))
    assert_same(a.merge(b), b.merge(a))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("axis", [None, 1])
def test_nan_and_inf_are_named(bad: float, axis: int | None) -> None:
    data = samples()
    data[4, 2, 1, 1] = bad
    with pytest.raises(DataError, match="'conv1'"):
        TensorObserver("conv1", axis).update(data, len(data))


def test_numbers_beyond_float32_are_refused() -> None:
    with pytest.raises(DataError, match="Inf"):
        statistics_of(np.array([1e300]))


def test_half_precision_is_read() -> None:
    data = samples().astype(np.float16)
    assert_same(observed(data), observed(data.astype(np.float32)))


def test_values_near_the_end_of_float32() -> None:
    found = statistics_of(np.array([3e38, -3e38, 3e38], np.float32))
    assert found.sum_of_squares == pytest.approx(3 * 9e76, rel=1e-6)
    assert found.mean == pytest.approx(1e38, rel=1e-6)


def test_empty_arrays_and_scalars() -> None:
    observer = TensorObserver("t", 1)
    observer.update(np.zeros((1, 0, 4), np.float32), 1)
    assert observer.statistics().count == 0
    observer.update(np.array(2.5, np.float32), 1)
    found = observer.statistics()
    assert (found.count, found.samples, found.minimum, found.maximum) == (1, 1, 2.5, 2.5)


def test_a_batch_that_cannot_be_taken_apart_is_one_sample() -> None:
    observer = TensorObserver("t", None)
    observer.update(np.arange(5, dtype=np.float32), 2)
    assert observer.statistics().samples == 1


def full_statistics() -> Statistics:
    constant = statistics_of(np.full(7, -2.0))
    zeros = statistics_of(np.zeros(3))
    return Statistics(
        {"conv": observed(samples()), "ä/konstant": constant, "zeros": zeros, "none": TensorStatistics()}, 9
    )


def test_save_and_load(tmp_path: Path) -> None:
    path = tmp_path / "statistics"
    given_statistics = full_statistics()
    given_statistics.save(path)
    loaded = Statistics.load(path)
    assert list(loaded) == list(given_statistics)
    assert loaded.samples == 9
    for name, tensor in given_statistics.items():
        assert_same(tensor, loaded[name])
        assert (tensor.sum, tensor.sum_of_squares) == (loaded[name].sum, loaded[name].sum_of_squares)
    assert [entry.name for entry in tmp_path.iterdir()] == ["statistics"]


def test_no_tensors_can_be_saved(tmp_path: Path) -> None:
    Statistics({}, 0).save(tmp_path / "none.npz")
    assert len(Statistics.load(tmp_path / "none.npz")) == 0


def changed(path: Path, **columns: np.ndarray) -> None:
    with np.load(path) as archive:
        content = {**dict(archive), **columns}
    np.savez(path, **content)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"version": np.array([99])}, "newer"),
        ({"version": np.array([0])}, "never existed"),
        ({"count": np.array([1, 7, 3, 0])}, "counts"),
        ({"count": np.array([1])}, "rows"),
        ({"exponent": np.array([3, 0, 0, 0])}, "bin width"),
        ({"zeros": np.array([-1, 0, 3, 0])}, "zeros"),
        ({"minimum": np.array([np.nan, -2, 0, 0])}, "extremes"),
        ({"sum": np.array([np.inf, 0, 0, 0])}, "moments"),
        ({"bin_start": np.array([10**6, 0, 0, 0])}, "grid"),
        ({"bin_length": np.array([1, 1, 1, 1])}, "lengths"),
        ({"channel_mean_extra": np.array([1]), "channel_sum": np.full(5, np.nan)}, "finite"),
        ({"name": np.array(["a", "a", "b", "c"])}, "twice"),
    ],
)
def test_inconsistent_files_are_refused(tmp_path: Path, columns: dict[str, np.ndarray], reason: str) -> None:
    path = tmp_path / "s.npz"
    full_statistics().save(path)
    changed(path, **columns)
    with pytest.raises(DataError, match=reason):
        Statistics.load(path)


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    with pytest.raises(DataError, match=r"s\.npz"):
        Statistics.load(path)
    path.write_bytes(b"not a zip file")
    with pytest.raises(DataError, match="collect them again"):
        Statistics.load(path)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(DataError, match="collect them again"):
        Statistics.load(path)
    np.savez(path, version=np.array([{}], dtype=object))
    with pytest.raises(DataError, match="collect them again"):
        Statistics.load(path)
    full_statistics().save(path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(DataError, match="collect them again"):
        Statistics.load(path)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot write"):
        full_statistics().save(tmp_path / "missing" / "s.npz")
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(DataError, match="cannot write"):
        full_statistics().save(folder)
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_shards_of_different_tensors_are_refused() -> None:
    a = Statistics({"x": statistics_of(np.ones(2))}, 1)
    b = Statistics({"y": statistics_of(np.ones(2))}, 1)
    with pytest.raises(DataError, match="'x'"):
        a.merge(b)
    assert a.merge(a).samples == 2
    assert set(a.with_tensors(b)) == {"x", "y"}
