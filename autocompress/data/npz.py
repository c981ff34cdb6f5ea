"""Arrays inside a .npz file, read row by row without loading the file.

A member stored as it is (np.savez) is read in place.  A compressed one (np.savez_compressed) is unpacked once to the
cache, unless it is small.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np

from autocompress.data.rows import FileRows, MemoryRows, Rows, npy_header, open_npy, read_npy_header
from autocompress.data.samples import Array, Indices
from autocompress.data.spool import cache_folder, ensure_room, file_folder
from autocompress.errors import DataError
from autocompress.files import replacing

_SMALL_BYTES = 1 << 20
_CHUNK_BYTES = 4 << 20
_LOCAL_HEADER_BYTES = 30


class NpzArray:
    """One array of a .npz file.  Its shape and dtype are known at once, its elements are unpacked when first read."""

    def __init__(self, path: Path, member: zipfile.ZipInfo) -> None:
        self.name = member.filename.removesuffix(".npy")
        self._path = path
        self._member = member
        self._label = f"array '{self.name}' of {path}"
        with _open_member(path, member, self._label) as stream:
            self.shape, self._fortran_order, self.dtype = read_npy_header(stream, self._label)
            self._header_bytes = stream.tell()
        expected = self._header_bytes + self._nbytes
        if member.file_size < expected:
            raise DataError(f"The {self._label} is truncated: {member.file_size} bytes instead of {expected}.")
        self._rows: Rows | None = None

    @property
    def _nbytes(self) -> int:
        return int(self.dtype.itemsize) * math.prod(self.shape)

    def rows(self, indices: Indices) -> Array:
        """See ``Rows.rows``."""
        return self._opened().rows(indices)

    def whole(self) -> Array:
        """See ``Rows.whole``."""
        return self._opened().whole()

    def close(self) -> None:
        """Closes what was opened."""
        if self._rows is not None:
            self._rows.close()
            self._rows = None

    def _opened(self) -> Rows:
        if self._rows is None:
            self._rows = self._open()
        return self._rows

    def _open(self) -> Rows:
        reordered = self._fortran_order and len(self.shape) > 1
        if self._nbytes <= _SMALL_BYTES:
            return MemoryRows(self._load())
        if self._member.compress_type == zipfile.ZIP_STORED and not reordered:
            offset = self._content_offset() + self._header_bytes
            return FileRows(self._path, offset, self.dtype, self.shape, self._label)
        return self._unpacked(reordered)

    def _content_offset(self) -> int:
        """Position of the member's first byte: the lengths in its local header may differ from the directory's."""
        try:
            with open(self._path, "rb") as stream:
                stream.seek(self._member.header_offset)
                header = stream.read(_LOCAL_HEADER_BYTES)
        except OSError as error:
            raise DataError(f"The {self._label} could not be opened: {error.strerror or error}.") from error
        lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        return self._member.header_offset + _LOCAL_HEADER_BYTES + lengths

    def _load(self) -> Array:
        with _open_member(self._path, self._member, self._label) as stream:
            stream.seek(self._header_bytes)
            content = _guarded_read(stream, self._nbytes, self._label)
            _check_sum(stream, self._label)
        array: Array = np.ndarray(self.shape, self.dtype, buffer=content, order="F" if self._fortran_order else "C")
        return np.array(array, dtype=self.dtype.newbyteorder("="), order="C")

    def _unpacked(self, reordered: bool) -> FileRows:
        key = hashlib.sha256(f"{self.name}\0{self._member.CRC}\0{self._member.file_size}".encode()).hexdigest()[:16]
        try:
            target = file_folder(self._path) / f"{key}.npy"
            if not target.exists():
                ensure_room(target.parent, self._nbytes * (2 if reordered else 1), str(self._path))
                self._unpack(target, reordered)
        except OSError as error:
            raise DataError(f"The {self._label} could not be unpacked to {cache_folder()}: {error}.") from error
        return open_npy(target, self._label)

    def _unpack(self, target: Path, reordered: bool) -> None:
        with replacing(target, durable=False) as out:
            if not reordered:
                out.write(npy_header(self.dtype, self.shape))
                self._copy_elements(out)
                return
            with tempfile.TemporaryFile(dir=target.parent) as raw:
                self._copy_elements(raw)
                raw.flush()
                _write_row_major(raw, out, self.dtype, self.shape)

    def _copy_elements(self, out: IO[bytes]) -> None:
        with _open_member(self._path, self._member, self._label) as stream:
            stream.seek(self._header_bytes)
            left = self._nbytes
            while left:
                chunk = _guarded_read(stream, min(left, _CHUNK_BYTES), self._label)
                out.write(chunk)
                left -= len(chunk)
            _check_sum(stream, self._label)


def open_npz(path: Path) -> tuple[dict[str, Rows], tuple[str, ...]]:
    """Arrays of a .npz file by name, and notices about members that are no arrays.

    Raises:
        DataError: when the file is missing, no .npz, truncated, encrypted, or holds no readable array.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except FileNotFoundError:
        raise DataError(f"The data file {path} does not exist.") from None
    except zipfile.BadZipFile as error:
        raise DataError(f"{path} is no .npz file, or it is truncated ({error}).") from error
    except OSError as error:
        raise DataError(f"The data file {path} could not be opened: {error.strerror or error}.") from error
    arrays: dict[str, Rows] = {}
    ignored = []
    for member in members:
        if member.filename.endswith(".npy"):
            array = NpzArray(path, member)
            arrays[array.name] = array
        elif not member.is_dir():
            ignored.append(member.filename)
    if not arrays:
        raise DataError(f"{path} holds no arrays.")
    notices = (f"{path.name} holds {', '.join(ignored)}, which are no arrays and are ignored.",) if ignored else ()
    return arrays, notices


def _open_member(path: Path, member: zipfile.ZipInfo, label: str) -> IO[bytes]:
    try:
        archive = zipfile.ZipFile(path)
        try:
            return archive.open(member)
        finally:
            archive.close()  # the member keeps the file open for itself
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise DataError(f"The {label} is damaged or encrypted: {error}.") from error
    except OSError as error:
        raise DataError(f"The {label} could not be opened: {error.strerror or error}.") from error


def _guarded_read(stream: IO[bytes], count: int, label: str) -> bytes:
    try:
        content = stream.read(count)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(f"The {label} is damaged: {error}.") from error
    if len(content) < count:
        raise DataError(f"The {label} is truncated.")
    return content


def _check_sum(stream: IO[bytes], label: str) -> None:
    """Reads on to the end, which is where zipfile compares the checksum."""
    try:
        stream.read(1)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(f"The {label} is damaged: {error}.") from error


def _write_row_major(raw: IO[bytes], out: IO[bytes], dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Turns column-ordered elements into a row-ordered .npy file, a few rows at a time."""
    columns = np.memmap(raw, dtype, "r", shape=shape, order="F")
    per_chunk = max(1, _CHUNK_BYTES // max(1, dtype.itemsize * math.prod(shape[1:])))
    out.write(npy_header(dtype, shape))
    for start in range(0, shape[0], per_chunk):
        out.write(np.ascontiguousarray(columns[start : start + per_chunk]).data)
