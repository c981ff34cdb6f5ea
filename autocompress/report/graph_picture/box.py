"""What the picture of a graph shows of one operator."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Box:
    """One operator in a picture.

    Attributes:
        title: such as its type.
        lines: further lines of text, short.
        tooltip: all there is to know, shown on hovering.
        kind: "float", "int8", "low_bits", "conversion" or "movement"; decides the colour.
        share: part of the model's time, in [0, 1]; drawn as a bar.
        changes: what was done to it, such as "64 -> 48 channels", a line each.
        reads: positions of the operators whose results it reads.
    """

    title: str
    lines: tuple[str, ...]
    tooltip: str
    kind: str
    share: float
    changes: tuple[str, ...]
    reads: tuple[int, ...]
