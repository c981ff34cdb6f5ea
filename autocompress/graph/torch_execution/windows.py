"""Where the windows of convolutions and poolings stand: pads, strides, dilations, automatic padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as functional

from autocompress.graph.torch_execution.call import Call, Tensor


@dataclass(frozen=True)
class Windows:
    """Windows over ``n`` spatial axes.

    Attributes:
        kernel: sizes of the window, of length n.
        strides: of length n.
        dilations: of length n.
        before: padding ahead of each axis.
        after: padding behind each axis.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def extents(self) -> tuple[int, ...]:
        """Elements from the first to the last that a window touches, per axis."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    @property
    def is_symmetric(self) -> bool:
        """Whether both ends of each axis are padded alike."""
        return self.before == self.after


def windows_of(call: Call, kernel: Sequence[int], sizes: Sequence[int]) -> Windows:
    """Reads a node's windows.

    Args:
        call: a convolution or pooling.
        kernel: sizes of the window.
        sizes: spatial sizes of the input, which automatic padding depends on.
    """
    n = len(kernel)
    strides = tuple(call.get("strides", [1] * n))
    dilations = tuple(call.get("dilations", [1] * n))
    mode = call.get("auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        before, after = _same(mode, kernel, sizes, strides, dilations)
    else:
        pads = [0] * (2 * n) if mode == "VALID" else call.get("pads", [0] * (2 * n))
        before, after = tuple(pads[:n]), tuple(pads[n:])
    return Windows(tuple(kernel), strides, dilations, before, after)


def padded(x: Tensor, before: Sequence[int], after: Sequence[int], value: float = 0.0) -> Tensor:
    """``x`` with its last axes widened (or, by negative numbers, cut)."""
    if not any(before) and not any(after):
        return x
    flat = [pad for pair in reversed(list(zip(before, after, strict=True))) for pad in pair]
    return functional.pad(x, flat, value=value)


def _same(
    mode: str, kernel: Sequence[int], sizes: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Pads that give ceil(size / stride) windows; the odd one goes behind (UPPER) or ahead (LOWER)."""
    before: list[int] = []
    after: list[int] = []
    for size, k, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size)
        small, large = total // 2, total - total // 2
        before.append(small if mode == "SAME_UPPER" else large)
        after.append(large if mode == "SAME_UPPER" else small)
    return tuple(before), tuple(after)
