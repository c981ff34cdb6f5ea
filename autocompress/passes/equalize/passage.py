"""What an operator does to scaled channels: where they go, what must be scaled with them, what must not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from onnx import NodeProto

from autocompress.passes.equalize.layout import Layout
from autocompress.passes.equalize.network import Network


@dataclass(frozen=True)
class Passage:
    """The effect of dividing one operand's channels by factors.

    Attributes:
        outputs: results whose channels are divided as well.
        tied: other operands that must be divided too for that to hold.
        constants: (operand position, layout) of constants that must be divided too.
        free: other operands that must not be divided.
    """

    outputs: tuple[tuple[str, Layout], ...]
    tied: tuple[tuple[str, Layout], ...] = ()
    constants: tuple[tuple[int, Layout], ...] = ()
    free: tuple[str, ...] = ()


Rule = Callable[[NodeProto, int, Layout, Network], Passage]
"""Takes a node, the position and layout of the operand that is divided; raises NotScalable with the reason."""
