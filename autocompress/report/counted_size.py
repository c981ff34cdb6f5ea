"""Which size of a model a study counts: of its file, or of the file compressed for transfer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Summary = Mapping[str, Any]


def is_compressed(summary: Summary) -> bool:
    """Whether the compressed size counts."""
    return summary.get("size_as") == "deflate"


def counted_bytes(summary: Summary, model: Summary) -> float | None:
    """The size that counts of the baseline or the best of a summary; None where nobody measured it."""
    size: float | None = model.get("deflate_bytes" if is_compressed(summary) else "size_bytes")
    return size


def times_smaller(summary: Summary, best: Summary) -> float | None:
    """How many times smaller the best is than the baseline, by the size that counts."""
    before, after = counted_bytes(summary, summary["baseline"]), counted_bytes(summary, best)
    return before / after if before and after else None
