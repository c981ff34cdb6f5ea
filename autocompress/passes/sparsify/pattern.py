"""Sparsity patterns as data, read from short texts such as "2:4" and "block4x4@0.5"."""

from __future__ import annotations

import re
from dataclasses import dataclass

from autocompress.errors import RecipeError

_NM = re.compile(r"(\d+):(\d+)")
_SHARE = re.compile(r"(unstructured|kernel|row|column|block(\d+)x(\d+))(?:@(\d*\.?\d+))?")


@dataclass(frozen=True)
class NM:
    """Exactly ``kept`` of each ``of`` consecutive input channels; a last group of fewer counts as padded by zeros."""

    kept: int
    of: int


@dataclass(frozen=True)
class Share:
    """A share of equal parts is zero.

    Attributes:
        part: "unstructured", "kernel", "row", "column" or "block".
        sparsity: share of zero parts, above 0 and below 1; None where it comes from a choice over all layers.
        block: (output channels, input channels) of a part, where ``part`` is "block".
    """

    part: str
    sparsity: float | None
    block: tuple[int, int] = (1, 1)

    def part_shape(self, outputs: int, inputs: int, taps: int) -> tuple[int, int, int]:
        """Sizes of a part along (output channels, input channels, kernel elements) of one group."""
        if self.part == "block":
            return (*self.block, 1)
        return {
            "unstructured": (1, 1, 1),
            "kernel": (1, 1, taps),
            "row": (1, inputs, taps),
            "column": (outputs, 1, taps),
        }[self.part]


Pattern = NM | Share


def parse(text: str) -> Pattern:
    """A pattern from its text.

    Raises:
        RecipeError: it is none, or its numbers make no sense.
    """
    if match := _NM.fullmatch(text):
        kept, of = int(match[1]), int(match[2])
        if not 0 < kept < of:
            raise RecipeError(f"sparsity pattern {text!r} keeps {kept} of {of}; keep at least one and fewer than all")
        return NM(kept, of)
    match = _SHARE.fullmatch(text)
    if match is None:
        raise RecipeError(
            f"{text!r} is no sparsity pattern; give one such as 2:4, unstructured@0.5, kernel@0.5, row@0.25, "
            "column@0.25 or block4x4@0.5"
        )
    sparsity = float(match[4]) if match[4] else None
    if sparsity is not None and not 0 < sparsity < 1:
        raise RecipeError(f"sparsity pattern {text!r} needs a share above 0 and below 1")
    if match[2] is None:
        return Share(match[1], sparsity)
    block = int(match[2]), int(match[3])
    if min(block) < 1:
        raise RecipeError(f"sparsity pattern {text!r} has empty blocks; give sizes from 1 up")
    return Share("block", sparsity, block)
