"""Operators on spatial axes: padding, and blocks of pixels against channels."""

from __future__ import annotations

import torch

from autocompress.graph.torch_execution.call import Call, Operator, Tensor, numbers


def pad(
    call: Call, x: Tensor, pads: Tensor | None = None, value: Tensor | None = None, axes: Tensor | None = None
) -> Tensor:
    """Pad, by a constant, the edge, a reflection or around; negative pads cut."""
    amounts = call.get("pads") if pads is None else numbers(pads)
    where = range(len(amounts) // 2) if axes is None else [axis % x.dim() for axis in numbers(axes)]
    fill = call.get("value", 0.0) if value is None else value.item()
    mode = call.get("mode", "constant")
    for position, axis in enumerate(where):
        x = _padded(call, x, axis, (amounts[position], amounts[position + len(where)]), mode, fill)
    return x


def _padded(call: Call, x: Tensor, axis: int, amounts: tuple[int, int], mode: str, fill: float) -> Tensor:
    before, after = amounts
    size = x.shape[axis]
    if min(before, after) < 0:
        cut = x.narrow(axis, max(0, -before), size + min(0, before) + min(0, after))
        return _padded(call, cut, axis, (max(0, before), max(0, after)), mode, fill)
    if not before and not after:
        return x
    if mode == "constant":
        blocks = [x.new_full([*x.shape[:axis], n, *x.shape[axis + 1 :]], fill) for n in (before, after)]
        return torch.cat([blocks[0], x, blocks[1]], axis)
    positions = torch.arange(-before, size + after, device=x.device)
    if mode == "edge":
        positions = positions.clamp(0, size - 1)
    elif mode == "wrap":
        positions = torch.remainder(positions, size)
    elif mode == "reflect":
        period = max(1, 2 * (size - 1))
        positions = torch.remainder(positions, period)
        positions = torch.minimum(positions, period - positions)
    else:
        raise call.refuse(f"mode {mode!r}")
    return x.index_select(axis, positions)


def depth_to_space(call: Call, x: Tensor) -> Tensor:
    """DepthToSpace, blocks outermost (DCR) or innermost (CRD) among channels."""
    n, c, h, w = x.shape
    b = call.get("blocksize")
    if call.get("mode", "DCR") == "DCR":
        y = x.reshape(n, b, b, c // (b * b), h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        y = x.reshape(n, c // (b * b), b, b, h, w).permute(0, 1, 4, 2, 5, 3)
    return y.reshape(n, c // (b * b), h * b, w * b)


def space_to_depth(call: Call, x: Tensor) -> Tensor:
    """SpaceToDepth."""
    n, c, h, w = x.shape
    b = call.get("blocksize")
    y = x.reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4)
    return y.reshape(n, c * b * b, h // b, w // b)


OPERATORS: dict[str, Operator] = {"Pad": pad, "DepthToSpace": depth_to_space, "SpaceToDepth": space_to_depth}
