"""How many bytes a model takes when it is sent: the file compressed by deflate, as in .zip, .gz and HTTP."""

from __future__ import annotations

import zlib
from pathlib import Path

from autocompress.graph.external import external_references
from autocompress.graph.reading import read_model

_LEVEL = 6  # what zip and gzip do unless told otherwise
_CHUNK_BYTES = 1 << 20


def deflated_bytes(content: bytes) -> int:
    """Bytes of a content in the zlib format (RFC 1950), found by really compressing it."""
    return len(zlib.compress(content, _LEVEL))


def deflated_file_bytes(path: str | Path) -> int:
    """Bytes of a model's files, external data included, each compressed alone.

    Raises:
        ModelError: the file is no readable ONNX model, or its external data is missing or outside its folder.
    """
    path = Path(path)
    files = {reference.path.resolve() for _, reference in external_references(read_model(path), path)}
    return sum(_deflated(file) for file in (path, *sorted(files)))


def _deflated(file: Path) -> int:
    packer, total = zlib.compressobj(_LEVEL), 0
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            total += len(packer.compress(chunk))
    return total + len(packer.flush())
