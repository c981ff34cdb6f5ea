"""Operators that move numbers: channels go where their numbers go."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from autocompress.graph.channels.axis import Axis, joined
from autocompress.graph.channels.entries import Entry, Literal, SizeOf
from autocompress.graph.channels.regrouping import regrouped
from autocompress.graph.channels.rules.elementwise import broadcast
from autocompress.graph.channels.rules.layers import integer, lookup
from autocompress.graph.channels.scope import Axes, Opaque, Scope
from autocompress.graph.index import attribute
from autocompress.graph.specs import Size
from autocompress.graph.walk import node_label


def transpose(node: NodeProto, scope: Scope) -> None:
    """Transpose."""
    axes = scope.operand(node, 0)
    perm = attribute(node, "perm")
    order = list(perm) if isinstance(perm, list) else list(range(len(axes)))[::-1]
    _set(node, scope, tuple(axes[i] for i in order))


def reshape(node: NodeProto, scope: Scope) -> None:
    """Reshape and Flatten; the numbers of a stored shape are adjusted to what is kept."""
    before, after = scope.sizes(node.input[0]), _told_sizes(node, scope)
    given = scope.operand(node, 0)
    axes = regrouped(scope, given, before, after, node_label(node))
    if node.op_type == "Reshape":
        check_sizes(node, scope, 1, axes)
        for place, entry in enumerate(scope.numbers(node, 1) or ()):
            if isinstance(entry, Literal) and entry.value == 0:
                scope.tie(given[place], axes[place], f"{node_label(node)} copies its size")
    _set(node, scope, axes)


def squeeze(node: NodeProto, scope: Scope) -> None:
    """Squeeze: axes of size 1 go."""
    axes = scope.operand(node, 0)
    gone = axes_of(node, scope, len(axes))
    if gone is None:
        gone = [i for i, size in enumerate(scope.sizes(node.input[0])) if size == 1]
    _set(node, scope, tuple(axis for i, axis in enumerate(axes) if i not in gone))


def unsqueeze(node: NodeProto, scope: Scope) -> None:
    """Unsqueeze: axes of size 1 come."""
    axes = scope.operand(node, 0)
    new = axes_of(node, scope, len(scope.sizes(node.output[0])))
    if new is None:
        raise Opaque(f"{node_label(node)} inserts axes at computed places")
    rest = iter(axes)
    _set(node, scope, tuple(Axis.plain(1) if i in new else next(rest) for i in range(len(axes) + len(new))))


def concat(node: NodeProto, scope: Scope) -> None:
    """Concat."""
    label = node_label(node)
    operands = [list(scope.operand(node, i)) for i in range(len(node.input))]
    rank = len(operands[0])
    place = integer(node, "axis", 0) % rank
    parts = [own[place] for own in operands]
    known = [part for part in parts if part is not None]
    for own in operands:
        own[place] = Axis.plain(1)
    result = list(broadcast(scope, [tuple(own) for own in operands], label))
    if len(known) == len(parts):
        result[place] = joined(known)
    else:
        for part in known:
            scope.fix(part, f"{label} joins it with a tensor of unknown size")
        result[place] = None
    scope.axes[node.output[0]] = tuple(result)
    if all(name in scope.zeros for name in node.input):
        scope.zeros.add(node.output[0])


def split(node: NodeProto, scope: Scope) -> None:
    """Split: each result has its part of the channels."""
    axes = scope.operand(node, 0)
    place = integer(node, "axis", 0) % len(axes)
    whole, start = axes[place], 0
    for name in node.output:
        size = scope.sizes(name)[place]
        part: Axis | None = None
        if isinstance(size, int) and whole is not None:
            part = whole.taken(np.arange(start, start + size))
            start += size
        scope.axes[name] = (*axes[:place], part, *axes[place + 1 :])
    if whole is not None and start != whole.size:
        scope.fix(whole, f"{node_label(node)} splits it into parts of unknown size")
    if node.input[0] in scope.zeros:
        scope.zeros.update(node.output)


def cut(node: NodeProto, scope: Scope) -> None:
    """Slice: neighbouring channels, in their order."""
    axes = list(scope.operand(node, 0))
    label = node_label(node)
    places = scope.integers(node, 3) if scope.has(node, 3) else list(range(len(axes)))
    starts, ends = scope.integers(node, 1), scope.integers(node, 2)
    steps = scope.integers(node, 4) if scope.has(node, 4) else [1] * len(places or [])
    after = scope.sizes(node.output[0])
    if places is None:
        raise Opaque(f"{label} cuts along computed axes")
    for i, raw in enumerate(places):
        place, size = raw % len(axes), after[raw % len(axes)]
        axis = axes[place]
        if axis is None or axis.is_plain:
            axes[place] = Axis.plain(size) if isinstance(size, int) else None
        elif starts is None or ends is None or steps is None or steps[i] != 1:
            scope.fix(axis, f"{label} picks channels by steps or at computed places")
            axes[place] = Axis.plain(size) if isinstance(size, int) else None
        else:
            axes[place] = axis.taken(np.arange(axis.size)[slice(starts[i], ends[i])])
    _set(node, scope, tuple(axes))


def gather(node: NodeProto, scope: Scope) -> None:
    """Gather: from a stored table, stored numbers of channels, or along an axis where no channels are."""
    if scope.is_stored(node, 0):
        lookup(node, scope)
        return
    axes = scope.operand(node, 0)
    place = integer(node, "axis", 0) % len(axes)
    numbers, axis = scope.values(node, 1), axes[place]
    new: Axes = scope.plain(node.input[1])
    if axis is not None and not axis.is_plain:
        if numbers is not None and numbers.ndim == 1:
            new = (axis.taken(numbers.astype(np.int64) % axis.size),)
        else:
            scope.fix(axis, f"{node_label(node)} picks single or computed channels")
    _set(node, scope, (*axes[:place], *new, *axes[place + 1 :]))


def pad(node: NodeProto, scope: Scope) -> None:
    """Pad: channels that are added can go again, as long as their number is stored."""
    axes = list(scope.operand(node, 0))
    label = node_label(node)
    amounts = scope.integers(node, 1)
    places = scope.integers(node, 3) if scope.has(node, 3) else list(range(len(axes)))
    if amounts is None or places is None:
        raise Opaque(f"{label} pads by computed amounts")
    constant = attribute(node, "mode", b"constant") == b"constant"
    after = scope.sizes(node.output[0])
    for i, raw in enumerate(places):
        place, before, behind = raw % len(axes), amounts[i], amounts[i + len(places)]
        axis, size = axes[place], after[place]
        if not before and not behind:
            continue
        if axis is not None and constant and before >= 0 and behind >= 0:
            new = [scope.virtual(node, 1, edge, size) for edge, size in ((place, before), (~place, behind))]
            axes[place] = joined([new[0], axis, new[1]])
            continue
        scope.fix(axis, f"{label} fills it with copies of other channels, or cuts them off")
        axes[place] = Axis.plain(size) if isinstance(size, int) else None
    filled = scope.values(node, 2) if scope.has(node, 2) else None
    scope.axes[node.output[0]] = tuple(axes)
    if node.input[0] in scope.zeros and constant and (filled is None or not filled.any()):
        scope.zeros.add(node.output[0])


def tile(node: NodeProto, scope: Scope) -> None:
    """Tile."""
    axes = scope.operand(node, 0)
    counts = scope.integers(node, 1)
    if counts is None:
        raise Opaque(f"{node_label(node)} repeats by computed numbers")
    _set(node, scope, tuple(a if n == 1 or a is None else a.tiled(n) for a, n in zip(axes, counts, strict=True)))


def expand(node: NodeProto, scope: Scope) -> None:
    """Expand: repetitions can go where their number is stored."""
    axes = scope.operand(node, 0)
    plain = scope.plain(node.output[0])
    padded = (*(Axis.plain(1) for _ in range(len(plain) - len(axes))), *axes)
    entries = scope.numbers(node, 1) or (None,) * len(plain)
    entries = (*(None for _ in range(len(plain) - len(entries))), *entries)
    result: list[Axis | None] = []
    for place, (old, new, entry) in enumerate(zip(padded, plain, entries, strict=True)):
        if old is not None and (old.size != 1 or (isinstance(entry, Literal) and entry.value == 1)):
            result.append(old)
        elif new is not None and isinstance(entry, Literal):
            result.append(scope.virtual(node, 1, place, new.size))
        else:
            result.append(_followed(scope, entry, new))
    check_sizes(node, scope, 1, tuple(result))
    _set(node, scope, tuple(result))


def constant_of_shape(node: NodeProto, scope: Scope) -> None:
    """ConstantOfShape: as large as the sizes it is given."""
    plain = scope.plain(node.output[0])
    entries = scope.numbers(node, 0)
    if entries is None or len(entries) != len(plain):
        return
    scope.axes[node.output[0]] = tuple(
        scope.virtual(node, 0, place, own.size)
        if own is not None and isinstance(entry, Literal)
        else _followed(scope, entry, own)
        for place, (entry, own) in enumerate(zip(entries, plain, strict=True))
    )


def depth_to_space(node: NodeProto, scope: Scope) -> None:
    """DepthToSpace (pixel shuffle): a channel of the result is blocksize^2 channels."""
    axes, label = scope.operand(node, 0), node_label(node)
    side = integer(node, "blocksize", 1)
    if axes[1] is None:
        raise Opaque(f"{label} reads an unknown number of channels")
    each = axes[1].size // side**2
    rows_first = attribute(node, "mode", b"DCR") == b"DCR"
    parts = scope.split(axes[1], [side, side, each] if rows_first else [each, side, side])
    for part in parts[:2] if rows_first else parts[1:]:
        scope.fix(part, f"{label} turns it into pixels")
    for axis in axes[2:]:
        scope.fix(axis, f"{label} reads it as pixels")
    _set(node, scope, (axes[0], parts[2] if rows_first else parts[0], *scope.plain(node.output[0])[2:]))


def space_to_depth(node: NodeProto, scope: Scope) -> None:
    """SpaceToDepth: each channel comes blocksize^2 times."""
    axes = scope.operand(node, 0)
    for axis in axes[2:]:
        scope.fix(axis, f"{node_label(node)} reads it as pixels")
    channels = None if axes[1] is None else axes[1].tiled(integer(node, "blocksize", 1) ** 2)
    _set(node, scope, (axes[0], channels, *scope.plain(node.output[0])[2:]))


def resize(node: NodeProto, scope: Scope) -> None:
    """Resize: channels pass where their number stays."""
    axes, after = scope.operand(node, 0), scope.plain(node.output[0])
    result: list[Axis | None] = []
    for old, new in zip(axes, after, strict=True):
        if old is None or new is None or old.size != new.size:
            scope.fix(old, f"{node_label(node)} interpolates along it")
            result.append(new)
        else:
            result.append(old)
    if scope.has(node, 3):
        check_sizes(node, scope, 3, tuple(result), attribute(node, "axes"))
    _set(node, scope, tuple(result))


def _told_sizes(node: NodeProto, scope: Scope) -> list[Size]:
    """The sizes behind a reshape, as far as inference or its shape operand tells."""
    sizes = list(scope.sizes(node.output[0]))
    entries = scope.numbers(node, 1) if node.op_type == "Reshape" else None
    for place, entry in enumerate(entries or ()):
        if isinstance(sizes[place], int):
            continue
        if isinstance(entry, SizeOf):
            sizes[place] = scope.sizes(entry.tensor)[entry.axis]
        elif isinstance(entry, Literal) and entry.value > 0:
            sizes[place] = entry.value
        elif isinstance(entry, Literal) and entry.value == 0:
            sizes[place] = scope.sizes(node.input[0])[place]
    return sizes


def check_sizes(node: NodeProto, scope: Scope, position: int, axes: Axes, places: object = None) -> None:
    """Keeps channels along axes whose size a shape operand gives in a way that can not be adjusted.

    Args:
        node: with a shape operand.
        scope: of the walk.
        position: of that operand.
        axes: of the result.
        places: which axes its numbers are for; all, counted from the last, where None.
    """
    entries = scope.numbers(node, position)
    numbers = len(axes) if entries is None else len(entries)
    where = [int(place) % len(axes) for place in places] if isinstance(places, list) else list(range(-numbers, 0))
    reason = f"the size that {node_label(node)} gives it is computed"
    for i, place in enumerate(where):
        axis, entry = axes[place], None if entries is None else entries[i]
        if isinstance(entry, Literal):
            if entry.value > 0:
                scope.use_number(entry, axis, f"other shapes are made from the number that {node_label(node)} reads")
        elif axis is not None and not axis.is_plain:
            own = scope.size_axis(entry) if isinstance(entry, SizeOf) else None
            scope.tie(axis, own, reason)


def _followed(scope: Scope, entry: Entry, own: Axis | None) -> Axis | None:
    """The axis whose size a number is, where that has the size expected."""
    axis = scope.size_axis(entry) if isinstance(entry, SizeOf) else None
    return axis if axis is not None and own is not None and axis.size == own.size else own


def axes_of(node: NodeProto, scope: Scope, rank: int) -> list[int] | None:
    """The axes that an operator is told, as attribute or operand, counted from 0."""
    axes = attribute(node, "axes")
    if axes is None and scope.has(node, 1):
        axes = scope.integers(node, 1)
    return [int(axis) % rank for axis in axes] if isinstance(axes, list) else None


def _set(node: NodeProto, scope: Scope, axes: Axes) -> None:
    scope.axes[node.output[0]] = axes
    if node.input[0] in scope.zeros:
        scope.zeros.add(node.output[0])
