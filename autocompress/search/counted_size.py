"""Which size of a model counts for targets and ranking."""

from __future__ import annotations

from typing import Protocol

FILE, DEFLATE = "file", "deflate"


class Sized(Protocol):
    """Something with the sizes of a model."""

    @property
    def size_bytes(self) -> int:
        """Of its file."""
        ...

    @property
    def deflate_bytes(self) -> int | None:
        """Of its file compressed by deflate; None where nobody compressed it."""
        ...


def counted_bytes(sized: Sized, size_as: str) -> int:
    """The size that counts.

    Args:
        sized: the model.
        size_as: "file" (as the runtime opens it) or "deflate" (the same file compressed for transfer).
    """
    if size_as == FILE:
        return sized.size_bytes
    assert sized.deflate_bytes is not None, "where the compressed size counts, every model is compressed"
    return sized.deflate_bytes
