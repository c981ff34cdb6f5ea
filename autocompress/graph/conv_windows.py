"""The window of a convolution or pooling, with everything said that the standard lets a node leave out."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import NodeProto, helper

from autocompress.graph.index import attribute
from autocompress.graph.specs import Size


def window_numbers(conv: NodeProto, name: str, default: int, count: int) -> list[int]:
    """An attribute of ``count`` numbers ("strides", "dilations", "pads"), or as many defaults where it is not set."""
    value = attribute(conv, name)
    return [int(number) for number in value] if isinstance(value, list) and value else [default] * count


def explicit_pads(conv: NodeProto, kernel: Sequence[int], sizes: Sequence[Size]) -> list[int] | None:
    """Zeros before, then behind, each spatial axis; None where they depend on a size that is not known.

    Args:
        conv: without dilation if it has ``auto_pad``.
        kernel: sizes of its kernel.
        sizes: of what it reads, batch and channels first, as far as known; () where not even their number is.
    """
    axes = len(kernel)
    automatic = attribute(conv, "auto_pad", b"NOTSET")
    if automatic == b"VALID":
        return [0] * (2 * axes)
    if automatic not in (b"SAME_UPPER", b"SAME_LOWER"):
        return window_numbers(conv, "pads", 0, 2 * axes)
    halves: list[tuple[int, int]] = []
    for axis, (length, stride) in enumerate(zip(kernel, window_numbers(conv, "strides", 1, axes), strict=True)):
        size = sizes[2 + axis] if len(sizes) == 2 + axes else None
        if stride > 1 and not isinstance(size, int):
            return None
        rest = (size - 1) % stride if isinstance(size, int) else 0
        total = max(0, length - 1 - rest)
        halves.append((total // 2, total - total // 2))
    before, after = zip(*halves, strict=True)
    return [*before, *after] if automatic == b"SAME_UPPER" else [*after, *before]


def set_window(conv: NodeProto, kernel: Sequence[int], strides: Sequence[int], pads: Sequence[int]) -> None:
    """Gives a convolution another window, in place; its dilations stay."""
    window = {"kernel_shape": kernel, "strides": strides, "pads": pads}
    kept = [a for a in conv.attribute if a.name not in (*window, "auto_pad")]
    del conv.attribute[:]
    conv.attribute.extend([*kept, *(helper.make_attribute(name, list(value)) for name, value in window.items())])
