"""Weights stored beside the model file (ONNX external data): checked first, then read.

A reference is only followed inside the model's folder: a model is data from somebody else, and must not be able to
make us read any other file of this machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from onnx import ModelProto, TensorProto

from autocompress.errors import ModelError
from autocompress.graph.tensors import stored_bytes
from autocompress.graph.walk import all_tensors


@dataclass(frozen=True)
class ExternalReference:
    """Where one tensor's bytes lie.

    Attributes:
        tensor: name of the tensor.
        path: the file.
        offset_bytes: first byte.
        length_bytes: how many bytes.
    """

    tensor: str
    path: Path
    offset_bytes: int
    length_bytes: int

    def read(self) -> bytes:
        """The tensor's raw data.

        Raises:
            ModelError: when the file cannot be read, or ends too early.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset_bytes)
                data = file.read(self.length_bytes)
        except OSError as error:
            raise ModelError(
                f"The external data file {self.path} of weight '{self.tensor}' cannot be read "
                f"({error.strerror or error})."
            ) from None
        if len(data) != self.length_bytes:
            raise ModelError(_too_short(self))
        return data


def is_external(tensor: TensorProto) -> bool:
    """Whether a tensor's bytes lie in another file."""
    return bool(tensor.data_location == TensorProto.EXTERNAL)


def external_references(model: ModelProto, model_path: Path) -> Iterator[tuple[TensorProto, ExternalReference]]:
    """Every externally stored tensor with its checked place; nothing is read.

    Raises:
        ModelError: a reference is malformed, leaves the model's folder, or points to a missing or too short file.
    """
    for tensor in all_tensors(model):
        if is_external(tensor):
            yield tensor, _checked(tensor, model_path)


def load_external_data(model: ModelProto, model_path: Path) -> None:
    """Reads every external tensor into the model, in place; all references are checked before the first read.

    Raises:
        ModelError: as :func:`external_references` and :meth:`ExternalReference.read`.
    """
    for tensor, reference in list(external_references(model, model_path)):
        tensor.raw_data = reference.read()
        del tensor.external_data[:]
        tensor.data_location = TensorProto.DEFAULT


def refuse_external(model: ModelProto) -> None:
    """Refuses an in-memory model whose weights are elsewhere.

    Raises:
        ModelError: the first such weight.
    """
    for tensor in all_tensors(model):
        if is_external(tensor):
            raise ModelError(
                f"Weight '{tensor.name}' of the given ModelProto is external data; give the model's path instead, "
                "or load it with its external data."
            )


def _checked(tensor: TensorProto, model_path: Path) -> ExternalReference:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    needed = stored_bytes(tensor.data_type, tensor.dims)
    reference = ExternalReference(
        tensor.name,
        _inside(tensor.name, entries.get("location", ""), model_path),
        _whole_number(tensor.name, "offset", entries.get("offset", "0")),
        _whole_number(tensor.name, "length", entries.get("length", str(needed))),
    )
    if reference.length_bytes != needed:
        raise ModelError(
            f"Weight '{tensor.name}' claims {reference.length_bytes} bytes of external data but its shape "
            f"{list(tensor.dims)} needs {needed}; export the model again."
        )
    try:
        size = reference.path.stat().st_size
    except OSError:
        raise ModelError(
            f"The external data file {reference.path} of weight '{tensor.name}' is missing; put it beside the model."
        ) from None
    if reference.offset_bytes + reference.length_bytes > size:
        raise ModelError(_too_short(reference))
    return reference


def _inside(tensor: str, location: str, model_path: Path) -> Path:
    """The file that ``location`` means, if it lies in the model's folder.

    A model may itself be a link into a store of files (as in the Hugging Face cache); then links of its weights may
    lead to that store too.
    """
    windows = PureWindowsPath(location)
    escapes = Path(location).is_absolute() or bool(windows.anchor) or ".." in windows.parts
    target = model_path.parent / location
    homes = (model_path.parent.resolve(), model_path.resolve().parent)
    if not location or escapes or not any(target.resolve().is_relative_to(home) for home in homes):
        raise ModelError(
            f"Weight '{tensor}' has its external data at '{location}', outside the model's folder; "
            "only files beside the model are read."
        )
    return target


def _whole_number(tensor: str, key: str, text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise ModelError(f"Weight '{tensor}' has external data with {key} '{text}', which is no byte count.")
    return value


def _too_short(reference: ExternalReference) -> str:
    end = reference.offset_bytes + reference.length_bytes
    return (
        f"The external data file {reference.path} is too short: weight '{reference.tensor}' needs it to hold "
        f"{end} bytes; copy or export it again."
    )
