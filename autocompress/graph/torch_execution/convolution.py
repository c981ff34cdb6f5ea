"""Convolutions over one, two or three spatial axes."""

from __future__ import annotations

import torch.nn.functional as functional

from autocompress.graph.torch_execution.call import Call, Operator, Tensor
from autocompress.graph.torch_execution.windows import padded, windows_of

_FORWARD = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}


def conv(call: Call, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Conv; weight of shape (outputs, inputs / group, *kernel)."""
    spatial = weight.dim() - 2
    windows = windows_of(call, tuple(weight.shape[2:]), tuple(x.shape[2:]))
    inside = windows.before if windows.is_symmetric else (0,) * spatial
    if not windows.is_symmetric:
        x = padded(x, windows.before, windows.after)
    return _FORWARD[spatial](x, weight, bias, windows.strides, inside, windows.dilations, call.get("group", 1))


def conv_transpose(call: Call, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """ConvTranspose; weight of shape (inputs, outputs / group, *kernel).

    Computed without padding and then cut, which is what padding means for a transposed convolution.
    """
    spatial = weight.dim() - 2
    windows = windows_of(call, tuple(weight.shape[2:]), tuple(x.shape[2:]))
    extra = tuple(call.get("output_padding", [0] * spatial))
    full = [
        (size - 1) * stride + extent + more
        for size, stride, extent, more in zip(x.shape[2:], windows.strides, windows.extents, extra, strict=True)
    ]
    before, after = _cuts(call, full, tuple(x.shape[2:]), windows.strides, (windows.before, windows.after))
    y = _TRANSPOSED[spatial](
        x, weight, None, windows.strides, 0, extra, call.get("group", 1), windows.dilations
    )  # fmt: skip
    y = padded(y, [-cut for cut in before], [-cut for cut in after])
    return y if bias is None else y + bias.reshape(1, -1, *[1] * spatial)


def _cuts(
    call: Call,
    full: list[int],
    sizes: tuple[int, ...],
    strides: tuple[int, ...],
    pads: tuple[tuple[int, ...], tuple[int, ...]],
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """How much of the full result is cut ahead and behind, per axis."""
    mode = call.get("auto_pad", "NOTSET")
    wanted = call.get("output_shape")
    if wanted is None and mode not in ("SAME_UPPER", "SAME_LOWER"):
        return pads
    if wanted is None:
        wanted = [size * stride for size, stride in zip(sizes, strides, strict=True)]
    totals = [max(0, have - want) for have, want in zip(full, wanted[-len(full) :], strict=True)]
    small, large = tuple(t // 2 for t in totals), tuple(t - t // 2 for t in totals)
    return (small, large) if mode == "SAME_UPPER" else (large, small)


OPERATORS: dict[str, Operator] = {"Conv": conv, "ConvTranspose": conv_transpose}
