"""What to open: small, picklable, the same for every process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from autocompress.data.arrays import ArraySource
from autocompress.data.folder import ImageFolderSource
from autocompress.data.function import import_function, is_function_reference
from autocompress.data.materialize import open_spool, spool_arrays, spool_callable
from autocompress.data.npz import open_npz
from autocompress.data.preprocess import Preprocess, load_preprocess, parse_preprocess
from autocompress.data.rows import open_npy
from autocompress.data.samples import ModelInputLike, SampleSource
from autocompress.errors import DataError

_NO_PREPROCESS = Preprocess()


@dataclass(frozen=True)
class DataSpec:
    """Where samples come from and what is done to them.

    Attributes:
        kind: "npz" (a file of arrays), "npy" (one array), "images" (a folder) or "spool" (data given from Python,
            already on disk, kept until the process that was given it exits).
        path: absolute path of the file or folder.
        preprocess: what is done to images.
        label: what to call the data in reports.
    """

    kind: Literal["npz", "npy", "images", "spool"]
    path: str
    preprocess: Preprocess = _NO_PREPROCESS
    label: str = ""


DataLike = DataSpec | str | Path | Mapping[str, Any] | Callable[[], Any]


def data_spec(
    data: DataLike,
    *,
    preprocess: Preprocess | str | Path | Mapping[str, Any] | None = None,
    model_inputs: Sequence[ModelInputLike] = (),
) -> DataSpec:
    """Settles what the user gave: a path, a dict of arrays, a function, or ``module.path:function``.

    Arrays and what functions give are written to disk here, once; only their place goes to other processes.

    Args:
        data: a .npz or .npy file, a folder of images, a dict of arrays, a callable without arguments that returns a
            dict of arrays or an iterable of dicts (a sample or a batch each), or the name of such a callable.
        preprocess: settings, a file of settings, or None.
        model_inputs: needed for functions that yield items: tells a sample from a batch.

    Raises:
        DataError: when nothing is there, the function fails, or the preprocessing is malformed.
    """
    settings = _settled_preprocess(preprocess)
    if isinstance(data, DataSpec):
        return data if preprocess is None else DataSpec(data.kind, data.path, settings, data.label)
    if isinstance(data, Mapping):
        return DataSpec("spool", str(spool_arrays(data)), settings, "arrays from Python")
    if isinstance(data, str | Path):
        path = Path(data).expanduser()
        if path.exists() or not (isinstance(data, str) and is_function_reference(data)):
            return _path_spec(path, settings)
        function: Callable[[], Any] = import_function(data, DataError)
        label = data
    elif callable(data):
        function, label = data, getattr(data, "__qualname__", type(data).__name__)
    else:
        raise DataError(f"Data must be a path, a dict of arrays or a function, not {type(data).__name__}.")
    return DataSpec("spool", str(spool_callable(function, label, model_inputs)), settings, label)


def open_source(spec: DataSpec, model_inputs: Sequence[ModelInputLike]) -> SampleSource:
    """Opens the samples for a model.

    Args:
        spec: what to open.
        model_inputs: the model's inputs, in order.

    Raises:
        DataError: when the file or folder is missing or damaged, or does not fit the model.
    """
    path = Path(spec.path)
    if not model_inputs:
        raise DataError("The model has no inputs, so there is nothing to feed.")
    if spec.kind == "images":
        return ImageFolderSource(path, model_inputs, spec.preprocess)
    if spec.kind == "npz":
        arrays, notices = open_npz(path)
        return ArraySource(arrays, model_inputs, spec.preprocess, notices)
    if spec.kind == "npy":
        return ArraySource({path.stem: open_npy(path)}, model_inputs, spec.preprocess)
    return ArraySource(open_spool(path), model_inputs, spec.preprocess)


def _path_spec(path: Path, preprocess: Preprocess) -> DataSpec:
    if path.is_dir():
        return DataSpec("images", str(path.resolve()), preprocess, str(path))
    if not path.exists():
        raise DataError(f"The data {path} does not exist.")
    kind: Literal["npz", "npy"] = "npy" if path.suffix == ".npy" else "npz"
    return DataSpec(kind, str(path.resolve()), preprocess, str(path))


def _settled_preprocess(preprocess: Preprocess | str | Path | Mapping[str, Any] | None) -> Preprocess:
    if preprocess is None:
        return _NO_PREPROCESS
    if isinstance(preprocess, Preprocess):
        return preprocess
    return parse_preprocess(preprocess) if isinstance(preprocess, Mapping) else load_preprocess(preprocess)
