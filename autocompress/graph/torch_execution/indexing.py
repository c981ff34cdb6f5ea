"""Operators that pick, place, sort and compare elements by position."""

from __future__ import annotations

import torch

from autocompress.graph.torch_execution.call import Call, Operator, Tensor, numbers, sizes_or_attribute


def slice_(
    call: Call,
    x: Tensor,
    starts: Tensor | None = None,
    ends: Tensor | None = None,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    """Slice; bounds are attributes before operator set 10, and clamped to the axis."""
    first = sizes_or_attribute(call, starts, "starts") or []
    last = sizes_or_attribute(call, ends, "ends") or []
    where = sizes_or_attribute(call, axes, "axes") or list(range(len(first)))
    stride = numbers(steps) or [1] * len(first)
    for start, end, axis, step in zip(first, last, where, stride, strict=True):
        x = _sliced(x, start, end, axis % x.dim(), step)
    return x


def _sliced(x: Tensor, start: int, end: int, axis: int, step: int) -> Tensor:
    positions = range(*slice(start, _end(end, x.shape[axis], step), step).indices(x.shape[axis]))
    if step > 0:
        return x[(*[slice(None)] * axis, slice(positions.start, max(positions.start, positions.stop), step))]
    return x.index_select(axis, torch.tensor(list(positions), dtype=torch.int64, device=x.device))


def _end(end: int, size: int, step: int) -> int | None:
    """Going backwards, an end ahead of the axis means that its first element is included."""
    return None if step < 0 and end < -size else end


def gather(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    """Gather along an axis; negative indices count from its end."""
    axis = call.get("axis", 0) % x.dim()
    flat = torch.remainder(indices.reshape(-1).to(torch.int64).to(x.device), x.shape[axis])
    return x.index_select(axis, flat).reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


def gather_elements(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    """GatherElements."""
    axis = call.get("axis", 0)
    size = x.shape[axis]
    positions = torch.remainder(indices.to(torch.int64), size)
    return torch.gather(x, axis, positions)


def gather_nd(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    """GatherND; the first ``batch_dims`` axes are walked together."""
    batch = call.get("batch_dims", 0)
    depth = indices.shape[-1]
    rows = [indices[..., i].to(torch.int64) for i in range(depth)]
    along = [
        torch.arange(x.shape[axis], device=x.device).reshape(*[1] * axis, -1, *[1] * (rows[0].dim() - axis - 1))
        for axis in range(batch)
    ]
    return x[(*along, *rows)]


def scatter_elements(call: Call, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """ScatterElements."""
    axis = call.get("axis", 0)
    where = torch.remainder(indices.to(torch.int64), x.shape[axis])
    reduction = call.get("reduction", "none")
    if reduction == "none":
        return x.scatter(axis, where, updates)
    names = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}
    return x.scatter_reduce(axis, where, updates, names[reduction])


def scatter_nd(call: Call, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """ScatterND, without or with sums."""
    reduction = call.get("reduction", "none")
    if reduction not in ("none", "add"):
        raise call.refuse(f"reduction {reduction!r}")
    rows = tuple(indices[..., i].to(torch.int64) for i in range(indices.shape[-1]))
    return x.index_put(rows, updates, accumulate=reduction == "add")


def trilu(call: Call, x: Tensor, k: Tensor | None = None) -> Tensor:
    """Trilu: the upper or lower triangle of the last two axes."""
    diagonal = 0 if k is None else int(k)
    return torch.triu(x, diagonal) if call.get("upper", 1) else torch.tril(x, diagonal)


def top_k(call: Call, x: Tensor, k: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """TopK; of equal elements the first counts as larger."""
    count = call.get("k") if k is None else int(k)
    axis = call.get("axis", -1)
    order = torch.argsort(x, dim=axis, descending=bool(call.get("largest", 1)), stable=True).narrow(axis, 0, count)
    return torch.gather(x, axis, order), order


def one_hot(call: Call, indices: Tensor, depth: Tensor, values: Tensor) -> Tensor:
    """OneHot; values holds (off, on)."""
    size = int(depth)
    axis = call.get("axis", -1) % (indices.dim() + 1)
    hits = torch.remainder(indices.to(torch.int64), size).unsqueeze(axis) == torch.arange(size).reshape(
        [-1 if position == axis else 1 for position in range(indices.dim() + 1)]
    )
    inside = ((indices >= -size) & (indices < size)).unsqueeze(axis)
    return torch.where(hits & inside, values[1], values[0])


def cum_sum(call: Call, x: Tensor, axis: Tensor) -> Tensor:
    """CumSum, forward or ``reverse``, with or without the own element (``exclusive``)."""
    along = int(axis)
    flipped = x.flip(along) if call.get("reverse", 0) else x
    sums = flipped.cumsum(along)
    if call.get("exclusive", 0):
        sums = sums - flipped
    return (sums.flip(along) if call.get("reverse", 0) else sums).to(x.dtype)


def arg_max(call: Call, x: Tensor) -> Tensor:
    """ArgMax: position of the first (or last) largest element."""
    return _position(call, x)


def arg_min(call: Call, x: Tensor) -> Tensor:
    """ArgMin: position of the first (or last) smallest element."""
    return _position(call, -x)


def _position(call: Call, x: Tensor) -> Tensor:
    axis, keep = call.get("axis", 0), bool(call.get("keepdims", 1))
    if not call.get("select_last_index", 0):
        return x.argmax(axis, keepdim=keep)
    return x.shape[axis] - 1 - x.flip(axis).argmax(axis, keepdim=keep)


OPERATORS: dict[str, Operator] = {
    "Slice": slice_,
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
    "Trilu": trilu,
    "TopK": top_k,
    "OneHot": one_hot,
    "CumSum": cum_sum,
    "ArgMax": arg_max,
    "ArgMin": arg_min,
    "NonZero": lambda call, x: torch.nonzero(x).t(),
}
