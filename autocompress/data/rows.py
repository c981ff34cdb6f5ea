"""Arrays on disk, read and written row by row.

Rows are read into fresh memory instead of mapped: mapped pages would count as resident memory of every process that
touches them, and a file cut short while mapped would kill the process instead of raising.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol

import numpy as np
import numpy.typing as npt

from autocompress.data.samples import Array, Indices
from autocompress.errors import DataError
from autocompress.files import Replacement

_HEADER_BYTES = 256
_MAGIC = b"\x93NUMPY\x01\x00"


class Rows(Protocol):
    """An array whose first axis can be read piecewise.

    Attributes:
        shape: shape of the whole array.
        dtype: its dtype.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole array."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type."""
        ...

    def rows(self, indices: Indices) -> Array:
        """The rows at ``indices``, shape (len(indices), *shape[1:]), in fresh memory."""
        ...

    def whole(self) -> Array:
        """The whole array."""
        ...

    def close(self) -> None:
        """Releases files."""
        ...


class MemoryRows:
    """Rows of an array that is small enough to stay in memory."""

    def __init__(self, array: Array) -> None:
        self._array = array
        self.shape: tuple[int, ...] = array.shape
        self.dtype: np.dtype[Any] = array.dtype

    def rows(self, indices: Indices) -> Array:
        """See ``Rows.rows``."""
        return self._array[np.asarray(indices, dtype=np.intp)]

    def whole(self) -> Array:
        """See ``Rows.whole``."""
        return self._array.copy()

    def close(self) -> None:
        """Nothing to release."""


class FileRows:
    """Rows of a C-ordered array that lies uncompressed in a file.

    Args:
        path: the file.
        offset: position of the first element, in bytes.
        dtype: element type.
        shape: shape of the whole array.
        label: what to call the array in errors.
    """

    def __init__(
        self, path: str | Path, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...], label: str = ""
    ) -> None:
        self.path = str(path)
        self.offset = offset
        self.dtype: np.dtype[Any] = dtype
        self.shape: tuple[int, ...] = shape
        self.label = label or self.path
        self._row_bytes = dtype.itemsize * math.prod(shape[1:])
        self._file: IO[bytes] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without the open file: a child process opens its own."""
        return {**self.__dict__, "_file": None}

    def rows(self, indices: Indices) -> Array:
        """See ``Rows.rows``.

        Raises:
            IndexError: when an index is outside the array.
            DataError: when the file became shorter or unreadable.
        """
        wanted = np.asarray(indices, dtype=np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= self.shape[0]):
            raise IndexError(f"{self.label}: row {int(wanted.max())} of {self.shape[0]}")
        out = np.empty((len(wanted), *self.shape[1:]), self.dtype)
        start = 0
        # Neighbouring rows are read in one go.
        for stop in [*(np.flatnonzero(np.diff(wanted) != 1) + 1), len(wanted)]:
            if stop > start and self._row_bytes:
                self._read_into(out[start:stop], self.offset + int(wanted[start]) * self._row_bytes)
            start = int(stop)
        return _native(out)

    def whole(self) -> Array:
        """See ``Rows.whole``.

        Raises:
            DataError: when the file became shorter or unreadable.
        """
        out = np.empty(self.shape, self.dtype)
        if out.nbytes:
            self._read_into(out, self.offset)
        return _native(out)

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read_into(self, target: Array, position: int) -> None:
        view = target.reshape(-1).view(np.uint8).data
        try:
            if self._file is None:
                self._file = open(self.path, "rb", buffering=0)  # noqa: SIM115 - kept open between batches
            done = 0
            while done < len(view):
                count = _read_at(self._file, view[done:], position + done)
                if not count:
                    raise DataError(f"{self.label} ends too early: it was changed or cut short while it was read.")
                done += count
        except OSError as error:
            raise DataError(f"{self.label} could not be read: {error.strerror or error}.") from error


class RowWriter:
    """Writes a .npy file row by row, its number of rows known only at the end; it appears under its name complete.

    Args:
        path: the file to make; written beside it first, then moved over it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._replacement = Replacement(self.path, durable=False)  # spooled data can be made again
        self._file = self._replacement.file
        self._file.write(b"\0" * _HEADER_BYTES)
        self._row_shape: tuple[int, ...] | None = None
        self._dtype: np.dtype[Any] | None = None
        self.count = 0

    def append(self, rows: npt.NDArray[Any]) -> None:
        """Appends rows of shape (k, ...).

        Raises:
            ValueError: when their shape or dtype differs from the first ones.
            OSError: when the disk is full or the folder went away.
        """
        if self._dtype is None:
            self._row_shape, self._dtype = rows.shape[1:], rows.dtype
        if rows.shape[1:] != self._row_shape or rows.dtype != self._dtype:
            raise ValueError(f"rows of {rows.dtype}{rows.shape[1:]} after {self._dtype}{self._row_shape}")
        self._file.write(np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data)
        self.count += len(rows)

    def __enter__(self) -> RowWriter:
        """Starts writing."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Completes the file, or removes what there is of it after an error."""
        try:
            if kind is None and self._dtype is not None and self._row_shape is not None:
                self._file.seek(0)
                self._file.write(npy_header(self._dtype, (self.count, *self._row_shape)))
                self._replacement.complete()
        finally:
            self._replacement.discard()


def npy_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """The .npy (version 1.0) header of a C-ordered array, padded to 256 bytes."""
    text = repr({"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})
    room = _HEADER_BYTES - len(_MAGIC) - 2
    if len(text) >= room:
        raise ValueError(f"the header of an array of {dtype} needs more than {_HEADER_BYTES} bytes")
    body = text.ljust(room - 1) + "\n"
    return _MAGIC + len(body).to_bytes(2, "little") + body.encode("latin1")


def read_npy_header(stream: IO[bytes], label: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Reads (shape, fortran_order, dtype) and leaves ``stream`` at the first element.

    Raises:
        DataError: when this is no .npy content, or its elements are Python objects or records.
    """
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran_order, dtype = read(stream)
    except (ValueError, EOFError, OSError) as error:
        raise DataError(f"{label} is not a NumPy array (.npy content): {str(error).splitlines()[0]}.") from error
    if dtype.hasobject:
        raise DataError(f"{label} holds Python objects, which are never loaded; store it as numbers instead.")
    if dtype.names is not None:
        raise DataError(f"{label} is a structured array; store each field as an array of its own.")
    return tuple(int(size) for size in shape), bool(fortran_order), dtype


def open_npy(path: str | Path, label: str = "") -> FileRows:
    """Rows of a .npy file in C order.

    Raises:
        DataError: when the file is missing, is no such array, or is shorter than its header says.
    """
    label = label or str(path)
    try:
        with open(path, "rb") as stream:
            shape, fortran_order, dtype = read_npy_header(stream, label)
            offset, size = stream.tell(), os.fstat(stream.fileno()).st_size
    except OSError as error:
        raise DataError(f"{label} could not be opened: {error.strerror or error}.") from error
    if fortran_order and len(shape) > 1:
        raise DataError(f"{label} is stored in column order; save it with np.ascontiguousarray first.")
    if size < offset + dtype.itemsize * math.prod(shape):
        raise DataError(f"{label} is truncated: its header promises {shape} of {dtype}.")
    return FileRows(path, offset, dtype, shape, label)


def _read_at(stream: IO[bytes], target: memoryview, position: int) -> int:
    # Positioned reads leave the file's offset alone, which forked processes share.
    if hasattr(os, "preadv"):
        return os.preadv(stream.fileno(), [target], position)
    stream.seek(position)
    return int(stream.readinto(target))  # type: ignore[attr-defined]


def _native(array: Array) -> Array:
    """The same values in the byte order of this machine."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
