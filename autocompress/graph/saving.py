"""From a ModelProto to files: atomic, byte for byte reproducible, never over the model that came in."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from google.protobuf.message import EncodeError
from onnx import ModelProto, TensorProto, helper

from autocompress.errors import ModelError, StorageError
from autocompress.files import replacing
from autocompress.graph.external import external_references, is_external
from autocompress.graph.reading import read_model
from autocompress.graph.skeleton import copy_without
from autocompress.graph.tensors import raw_bytes, stored_bytes

IR_VERSION = 10
ONE_FILE_LIMIT_BYTES = 2**31 - 2**24
_INLINE_BYTES = 1024  # smaller weights stay in the model file
_ALIGNMENT_BYTES = 4096  # so that runtimes can map each weight


def model_bytes(model: ModelProto) -> bytes:
    """A model as the bytes of an ONNX file, the same for equal models.

    Raises:
        ModelError: over 2 GB, which only files with external data can hold (see :func:`save_model`).
    """
    if _payload_bytes(model) > ONE_FILE_LIMIT_BYTES:
        raise ModelError("The model is larger than 2 GB, so it only exists as a file with external data; save it.")
    try:
        return bytes(model.SerializeToString(deterministic=True))
    except (EncodeError, ValueError) as error:
        raise ModelError(f"The model cannot be serialized: {error}.") from None


def save_model(
    model: ModelProto,
    path: str | Path,
    *,
    source: str | Path | None = None,
    one_file_limit_bytes: int | None = None,
) -> Path:
    """Writes a model; either the whole file appears at ``path`` or nothing changes there.

    Above ``one_file_limit_bytes`` the weights go to ``<name>.data`` beside it.  The model given is not changed; the
    file says IR version 10, or the lowest that its operator sets allow.

    Args:
        model: what to write.
        path: where; missing folders are made.
        source: the file that the model came from, which must not be overwritten.
        one_file_limit_bytes: largest total of weights that stay in the model file; None for what one can hold.

    Returns:
        The path.

    Raises:
        StorageError: the place is the source itself, not writable, or the disk is full.
        ModelError: the model cannot be serialized.
    """
    path = Path(path)
    _refuse_source(path, source)
    heavy: dict[str, TensorProto] = {}
    if _payload_bytes(model) > (ONE_FILE_LIMIT_BYTES if one_file_limit_bytes is None else one_file_limit_bytes):
        heavy = {w.name: w for w in model.graph.initializer if stored_bytes(w.data_type, w.dims) > _INLINE_BYTES}
    stored = copy_without(model, frozenset(heavy))
    stored.ir_version = max(IR_VERSION, helper.find_min_ir_version_for(list(stored.opset_import), ignore_unknown=True))
    with _storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if heavy:
            with replacing(path.with_name(path.name + ".data")) as file:
                stored.graph.initializer.extend(_write_weights(heavy, file, path.name + ".data"))
        with replacing(path) as file:
            file.write(model_bytes(stored))
    return path


def loadable(model: ModelProto, path: str | Path) -> bytes | str:
    """What a runtime can load: the bytes of a model; above 2 GB the path of a file, its weights beside it.

    Args:
        model: any model.
        path: where that file goes.  It takes the place of an older one, which sessions that are open still read.

    Raises:
        ModelError: the model cannot be serialized.
        StorageError: the file cannot be written.
    """
    if _payload_bytes(model) <= ONE_FILE_LIMIT_BYTES:
        return model_bytes(model)
    return str(save_model(model, path))


def loadable_bytes(given: bytes | str) -> int:
    """How many bytes what ``loadable`` gave takes, external data included."""
    return len(given) if isinstance(given, bytes) else size_bytes(given)


@contextlib.contextmanager
def briefly_loadable(model: ModelProto) -> Iterator[bytes | str]:
    """The same as ``loadable``, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="autocompress-") as folder:
        yield loadable(model, Path(folder) / "model.onnx")


def copy_model_file(source: str | Path, path: str | Path) -> Path:
    """Copies a model file byte for byte, and beside it the external data files that it names.

    Returns:
        The path of the copy.

    Raises:
        StorageError: the place is the source itself, not writable, or the disk is full.
        ModelError: the source is no readable ONNX model, or its external data is missing or outside its folder.
    """
    source, path = Path(source), Path(path)
    _refuse_source(path, source)
    heavy = {reference.path for _, reference in external_references(read_model(source), source)}
    pairs = [(part, path.parent / os.path.relpath(part, source.parent)) for part in sorted(heavy)]
    for part, target in [*pairs, (source, path)]:
        if target.exists() and target.samefile(part):
            continue
        with _storage_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            with part.open("rb") as file, replacing(target) as copy:
                shutil.copyfileobj(file, copy)
    return path


def size_bytes(path: str | Path) -> int:
    """Bytes that a model takes on disk, external data files included.

    Raises:
        ModelError: the file is no readable ONNX model, or its external data is missing or outside its folder.
    """
    path = Path(path)
    files = {reference.path.resolve() for _, reference in external_references(read_model(path), path)}
    return path.stat().st_size + sum(file.stat().st_size for file in files)


def _payload_bytes(model: ModelProto) -> int:
    inline = (weight for weight in model.graph.initializer if not is_external(weight))
    return sum(stored_bytes(weight.data_type, weight.dims) for weight in inline)


def _write_weights(heavy: dict[str, TensorProto], file: BinaryIO, location: str) -> Iterator[TensorProto]:
    """Writes each weight at an aligned offset; yields the tensors that refer to them."""
    for name, weight in heavy.items():
        file.write(b"\0" * (-file.tell() % _ALIGNMENT_BYTES))
        offset = file.tell()
        length = file.write(raw_bytes(weight))
        reference = TensorProto(name=name, data_type=weight.data_type, dims=weight.dims)
        reference.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
            reference.external_data.add(key=key, value=value)
        yield reference


def _refuse_source(path: Path, source: str | Path | None) -> None:
    if path.is_dir():
        raise StorageError(f"{path} is a folder; give the name of the model file to write.")
    if source is None:
        return
    source = Path(source)
    if path.resolve() == source.resolve() or (path.exists() and source.exists() and path.samefile(source)):
        raise StorageError(f"{path} is the model that came in and is never overwritten; choose another output.")


@contextlib.contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"{path} cannot be written ({reason}); free some space or choose another place.") from None
