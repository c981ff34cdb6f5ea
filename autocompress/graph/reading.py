"""From a file to a ModelProto, with a clear sentence for everything that is not an ONNX file."""

from __future__ import annotations

from pathlib import Path

from google.protobuf.message import DecodeError
from onnx import ModelProto

from autocompress.errors import ModelError

PROTOBUF_LIMIT_BYTES = 2**31 - 1
_FIRST_BYTE = 0x08  # field 1 (ir_version), varint: how every ONNX writer begins
_WIRE_VARINT, _WIRE_64, _WIRE_BYTES, _WIRE_32 = 0, 1, 2, 5


def read_model(path: Path) -> ModelProto:
    """Parses an ONNX file; external data is not touched.

    Raises:
        ModelError: missing, unreadable, empty, over 2 GB in one file, truncated, damaged, or not ONNX.
    """
    data = _read(path)
    if not data:
        raise ModelError(f"{path} is empty (0 bytes); give an ONNX model.")
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise ModelError(f"{path} {_what_is_wrong(data)}.") from None
    if not model.HasField("graph"):
        what = "is truncated" if data[0] == _FIRST_BYTE else "is not an ONNX file"
        raise ModelError(f"{path} {what}: it holds no graph; export or copy it again.")
    return model


def _read(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise ModelError(f"{path} is a folder; give the .onnx file in it.")
        if path.stat().st_size > PROTOBUF_LIMIT_BYTES:
            raise ModelError(f"{path} is larger than 2 GB in one file; save it with its weights as external data.")
        return path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"{path} does not exist; check the path of the model.") from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror or error}); check its permissions.") from None


def _what_is_wrong(data: bytes) -> str:
    """Walks the top-level protobuf fields of bytes that did not parse."""
    if data[0] != _FIRST_BYTE:
        return "is not an ONNX file; give a model exported to ONNX"
    position = 0
    known = ModelProto.DESCRIPTOR.fields_by_number
    while position < len(data):
        tag, position = _varint(data, position)
        if tag is not None and (tag >> 3) not in known:
            return "is not an ONNX file; give a model exported to ONNX"
        position = _skip(data, position, tag & 7) if tag is not None else len(data) + 1
        if position > len(data):
            return f"is truncated: it ends after {len(data)} bytes, inside the model; copy or export it again"
    return "is damaged: its contents do not parse as an ONNX model; copy or export it again"


def _varint(data: bytes, position: int) -> tuple[int | None, int]:
    """Value and next position; None where the bytes end inside the number."""
    value = shift = 0
    while position < len(data) and shift < 70:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
    return None, position


def _skip(data: bytes, position: int, wire: int) -> int:
    """Position after a field's payload, beyond the end of ``data`` where the payload is cut."""
    if wire == _WIRE_64:
        return position + 8
    if wire == _WIRE_32:
        return position + 4
    value, position = _varint(data, position)
    if value is None:
        return len(data) + 1
    return position + value if wire == _WIRE_BYTES else position
