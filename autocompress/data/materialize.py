"""Data given from Python, written to disk once so that every process can stream it.

A dict of arrays is written as it is.  A callable returns such a dict, or an iterable of dicts, each of them one sample
or one batch: the rank of the model's inputs tells which.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autocompress.data.rows import Rows, RowWriter, npy_header, open_npy
from autocompress.data.samples import ModelInputLike
from autocompress.data.spool import ensure_room, session_folder
from autocompress.errors import DataError

Item = Mapping[str, Any]

_NAMES = "names.json"  # names of arrays in the order of the files 0.npy, 1.npy, ...: a name may be no file name


def spool_arrays(arrays: Item) -> Path:
    """Writes arrays to a new session folder, one .npy file each.

    Raises:
        DataError: when one is no array of numbers or text, or the disk is full.
    """
    ready = _checked_arrays(arrays)
    if not ready:
        raise DataError("The data holds no arrays.")
    folder = session_folder()
    ensure_room(folder, sum(array.nbytes for array in ready.values()), "the data")
    try:
        for k, array in enumerate(ready.values()):
            _write_array(_array_path(folder, k), array)
        _write_names(folder, list(ready))
    except OSError as error:
        raise DataError(f"The data could not be kept in {folder}: {error.strerror or error}.") from error
    return folder


def spool_callable(function: Callable[[], Any], label: str, model_inputs: Sequence[ModelInputLike]) -> Path:
    """Calls ``function`` and writes what it returns or yields to a new session folder, item by item.

    Args:
        function: takes no argument; returns a dict of arrays or an iterable of dicts.
        label: what to call it in errors.
        model_inputs: tell a sample from a batch.

    Raises:
        DataError: when it raises, gives nothing, or its items are no dicts or do not go together.
    """
    try:
        returned = function()
    except Exception as error:  # the user's function may raise anything
        raise DataError(f"The data function {label} raised {type(error).__name__}: {error}.") from error
    if isinstance(returned, Mapping):
        return spool_arrays(returned)
    if not isinstance(returned, Iterable):
        raise DataError(f"The data function {label} returned {type(returned).__name__}, not dicts of arrays.")
    folder = session_folder()
    _Spool(folder, label, {i.name: len(i.shape) for i in model_inputs}).write(returned)
    return folder


def open_spool(folder: Path) -> dict[str, Rows]:
    """Arrays of a session folder by name.

    Raises:
        DataError: when the folder is gone or a file is damaged.
    """
    try:
        names = json.loads((folder / _NAMES).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"The data kept in {folder} is gone: it lasts only as long as the program does.") from error
    return {name: open_npy(_array_path(folder, k), f"array '{name}'") for k, name in enumerate(names)}


class _Spool:
    """Writes the items of an iterable; the first one says whether items are samples or batches, for good."""

    def __init__(self, folder: Path, label: str, ranks: Mapping[str, int]) -> None:
        self._folder = folder
        self._label = label
        self._ranks = ranks
        self._writers: dict[str, RowWriter] = {}
        self._whole: dict[str, npt.NDArray[Any]] = {}
        self._batched = True

    def write(self, items: Iterable[Any]) -> None:
        with ExitStack() as stack:
            try:
                for k, item in enumerate(items):
                    self._append(k, self._checked_item(k, item), stack)
            except DataError:
                raise
            except OSError as error:
                raise DataError(f"The data could not be kept in {self._folder}: {error}.") from error
            except Exception as error:  # the user's generator may raise anything
                raise DataError(f"The data function {self._label} raised {type(error).__name__}: {error}.") from error
        if not self._writers:
            raise DataError(f"The data function {self._label} gave no samples.")
        for k, array in enumerate(self._whole.values(), start=len(self._writers)):
            _write_array(_array_path(self._folder, k), array)
        _write_names(self._folder, [*self._writers, *self._whole])

    def _checked_item(self, k: int, item: Any) -> dict[str, npt.NDArray[Any]]:
        if not isinstance(item, Mapping):
            raise DataError(
                f"Item {k} of the data function {self._label} is {type(item).__name__}: give dicts such as "
                "{'input': array, 'labels': label}."
            )
        return _checked_arrays(item)

    def _append(self, k: int, item: dict[str, npt.NDArray[Any]], stack: ExitStack) -> None:
        if k == 0:
            self._batched = self._is_batch(item)
            self._open_writers(item, stack)
        elif set(item) != set(self._writers) | set(self._whole):
            raise DataError(f"Item {k} of the data function {self._label} has other arrays than the first.")
        if k % 256 == 0:
            ensure_room(self._folder, sum(a.nbytes for a in item.values()), "the data")
        for name, writer in self._writers.items():
            rows = item[name] if self._batched else item[name][np.newaxis]
            try:
                writer.append(rows)
            except ValueError as error:
                raise DataError(f"Array '{name}' changes at item {k} of {self._label}: {error}.") from error
        self._check_counts(k)

    def _open_writers(self, item: dict[str, npt.NDArray[Any]], stack: ExitStack) -> None:
        inputs = set(item) & set(self._ranks) or set(item)
        sizes = [len(array) for name, array in item.items() if array.ndim and name in inputs]
        for name, array in item.items():
            if self._batched and (array.ndim == 0 or len(array) != sizes[0]):
                self._whole[name] = array
            else:
                path = _array_path(self._folder, len(self._writers))
                self._writers[name] = stack.enter_context(RowWriter(path))

    def _is_batch(self, item: Mapping[str, npt.NDArray[Any]]) -> bool:
        known = {name: self._ranks[name] for name in item if name in self._ranks}
        if not known and len(self._ranks) == 1:  # the only input takes the array that could be meant
            rank = next(iter(self._ranks.values()))
            known = {name: rank for name, array in item.items() if array.ndim in (rank - 1, rank)}
            known = dict(list(known.items())[:1])
        for name, rank in known.items():
            if item[name].ndim in (rank - 1, rank):
                return item[name].ndim == rank
        listed = ", ".join(f"'{name}' {array.shape}" for name, array in item.items())
        raise DataError(f"The items of the data function {self._label} do not fit the model's inputs: {listed}.")

    def _check_counts(self, k: int) -> None:
        counts = {name: writer.count for name, writer in self._writers.items()}
        if len(set(counts.values())) > 1:
            raise DataError(f"Item {k} of the data function {self._label} gives different numbers of rows: {counts}.")


def _array_path(folder: Path, k: int) -> Path:
    return folder / f"{k}.npy"


def _write_names(folder: Path, names: list[str]) -> None:
    (folder / _NAMES).write_text(json.dumps(names), encoding="utf-8")


def _write_array(path: Path, array: npt.NDArray[Any]) -> None:
    with open(path, "wb") as out:
        out.write(npy_header(array.dtype, array.shape))
        if array.nbytes:
            out.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def _checked_arrays(item: Item) -> dict[str, npt.NDArray[Any]]:
    for name in item:
        if not isinstance(name, str) or not name:
            raise DataError(f"The names of arrays must be text, not {name!r}.")
    return {name: _as_array(name, value) for name, value in item.items()}


def _as_array(name: str, value: Any) -> npt.NDArray[Any]:
    try:
        array = np.asarray(value)
    except Exception as error:  # tensors of other libraries raise many kinds
        raise DataError(f"'{name}' could not be turned into an array: {error}.") from error
    if array.dtype.kind not in "fiubSU":
        raise DataError(f"'{name}' holds {array.dtype}; arrays of numbers of one shape are needed.")
    return array
