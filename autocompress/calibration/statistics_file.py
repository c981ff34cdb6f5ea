"""Statistics on disk: an ``.npz`` of plain columns, without pickle.

Columns of shape (tensors,) hold the scalars.  Histograms and channels are ragged: only the occupied bins are stored,
one tensor after the other, with ``*_length`` columns to take them apart.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autocompress.calibration.channels import ChannelStatistics
from autocompress.calibration.exact_sum import BYTES, ExactSum
from autocompress.calibration.histogram import BINS, MINIMUM_EXPONENT, Histogram, width_exponent
from autocompress.calibration.statistics import Statistics, TensorStatistics
from autocompress.errors import DataError
from autocompress.files import replacing

FORMAT_VERSION = 1

Columns = Mapping[str, npt.NDArray[Any]]

_INTEGERS = ("count", "samples", "zeros")
_REALS = ("minimum", "maximum", "sum", "sum_of_squares")
_EXACT = ("sum_of_minima", "sum_of_maxima")
_CHANNEL_ARRAYS = {"minimum": np.float32, "maximum": np.float32, "sum": np.float64, "sum_of_squares": np.float64}


def write(statistics: Statistics, path: Path) -> None:
    """Writes the file in one step: readers see the old one or the new one, never a part.

    Raises:
        DataError: when the file cannot be written.
    """
    try:
        with replacing(path) as file:
            np.savez_compressed(file, allow_pickle=False, **_columns(statistics))
    except OSError as error:
        raise DataError(f"cannot write calibration statistics to {path}: {error.strerror}") from error


def read(path: Path) -> Statistics:
    """Reads and checks the file.

    Raises:
        DataError: when the file is missing, damaged, inconsistent or of a newer format.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            columns = {name: archive[name] for name in archive.files}
        _check_version(columns)
        return _statistics(columns)
    except OSError as error:
        raise DataError(f"cannot read calibration statistics from {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} does not hold calibration statistics ({error}); collect them again") from error


def _columns(statistics: Statistics) -> dict[str, npt.NDArray[Any]]:
    tensors = list(statistics.values())
    spans = [_occupied(t.histogram) for t in tensors]
    columns: dict[str, npt.NDArray[Any]] = {
        "version": np.array([FORMAT_VERSION], np.int64),
        "total_samples": np.array([statistics.samples], np.int64),
        "name": np.array(list(statistics), np.str_),
        "exponent": np.array([t.histogram.exponent for t in tensors], np.int64),
        "bin_start": np.array([s.start for s in spans], np.int64),
        "bin_length": np.array([s.stop - s.start for s in spans], np.int64),
        "bins": _joined([t.histogram.counts[s] for t, s in zip(tensors, spans, strict=True)], np.int64),
        "channel_axis": np.array([-1 if t.channels is None else t.channels.axis for t in tensors], np.int64),
        "channel_count": np.array([0 if t.channels is None else t.channels.count for t in tensors], np.int64),
        "channel_length": np.array([0 if t.channels is None else t.channels.sum.size for t in tensors], np.int64),
    }
    for name in _INTEGERS:
        columns[name] = np.array([getattr(t, name) for t in tensors], np.int64)
    for name in _REALS:
        columns[name] = np.array([getattr(t, name) for t in tensors], np.float64)
    for name in _EXACT:
        exact = b"".join(getattr(t, name).to_bytes() for t in tensors)
        columns[name] = np.frombuffer(exact, np.uint8).reshape(-1, BYTES)
    for name, dtype in _CHANNEL_ARRAYS.items():
        columns[f"channel_{name}"] = _joined([getattr(t.channels, name) for t in tensors if t.channels], dtype)
    return columns


def _statistics(columns: Columns) -> Statistics:
    names = [str(name) for name in columns["name"]]
    if len(set(names)) != len(names):
        raise ValueError("a tensor occurs twice")
    for name in (*_INTEGERS, *_REALS, *_EXACT, "exponent", "bin_start", "channel_axis", "channel_count"):
        if len(columns[name]) != len(names):
            raise ValueError(f"column {name} has {len(columns[name])} rows for {len(names)} tensors")
    bins = _apart(columns["bins"], columns["bin_length"], len(names))
    channels = {
        name: _apart(columns[f"channel_{name}"], columns["channel_length"], len(names)) for name in _CHANNEL_ARRAYS
    }
    tensors = {}
    for i, name in enumerate(names):
        scalars: dict[str, Any] = {key: int(columns[key][i]) for key in _INTEGERS}
        scalars |= {key: float(columns[key][i]) for key in _REALS}
        scalars |= {key: ExactSum.from_bytes(columns[key][i].tobytes()) for key in _EXACT}
        tensor = TensorStatistics(
            **scalars,
            histogram=_histogram(int(columns["exponent"][i]), int(columns["bin_start"][i]), next(bins)),
            channels=_channels(columns, i, {key: next(parts) for key, parts in channels.items()}),
        )
        _check(name, tensor)
        tensors[name] = tensor
    return Statistics(tensors, int(columns["total_samples"][0]))


def _check_version(columns: Columns) -> None:
    version = int(columns["version"][0])
    if version > FORMAT_VERSION:
        raise ValueError(f"format {version}, newer than the format {FORMAT_VERSION} that this version reads")
    if version < 1:
        raise ValueError(f"format {version}, which never existed")


def _check(name: str, tensor: TensorStatistics) -> None:
    checks: dict[str, Callable[[], bool]] = {
        "counts": lambda: tensor.count == tensor.histogram.total and bool((tensor.histogram.counts >= 0).all()),
        "zeros": lambda: 0 <= tensor.zeros <= tensor.count,
        "samples": lambda: 0 <= tensor.samples <= tensor.count,
        "extremes": lambda: (
            bool(np.isfinite([tensor.minimum, tensor.maximum]).all()) and tensor.minimum <= tensor.maximum
        ),
        "bin width": lambda: tensor.histogram.exponent == width_exponent(tensor.abs_max),
        "moments": lambda: bool(np.isfinite([tensor.sum, tensor.sum_of_squares]).all()),
    }
    for what, holds in checks.items():
        if not holds():
            raise ValueError(f"the {what} of tensor {name!r} are inconsistent")


def _occupied(histogram: Histogram) -> slice:
    used = np.flatnonzero(histogram.counts)
    return slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, 0)


def _histogram(exponent: int, start: int, part: npt.NDArray[Any]) -> Histogram:
    if exponent < MINIMUM_EXPONENT or start < 0 or start + part.size > BINS:
        raise ValueError("a histogram lies outside its grid")
    counts = np.zeros(BINS, np.int64)
    counts[start : start + part.size] = part
    return Histogram(exponent, counts)


def _channels(columns: Columns, i: int, arrays: dict[str, npt.NDArray[Any]]) -> ChannelStatistics | None:
    axis = int(columns["channel_axis"][i])
    if axis < 0:
        return None
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"a channel's {name} is not finite")
    return ChannelStatistics(axis=axis, count=int(columns["channel_count"][i]), **arrays)


def _joined(parts: Sequence[npt.NDArray[Any]], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    return np.concatenate([np.empty(0, dtype), *parts]).astype(dtype, copy=False)


def _apart(values: npt.NDArray[Any], lengths: npt.NDArray[Any], expected: int) -> Iterator[npt.NDArray[Any]]:
    if len(lengths) != expected or (lengths < 0).any() or int(lengths.sum()) != values.size:
        raise ValueError("a ragged column does not match its lengths")
    return iter(np.split(values, np.cumsum(lengths)[:-1])) if expected else iter(())
