"""What nodes say about numbers of channels, and how it changes when channels go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from onnx import NodeProto, helper

from autocompress.graph.channels.axis import Axis
from autocompress.graph.channels.entries import Literal, stored_entries
from autocompress.graph.channels.rules.recurrent import GATES
from autocompress.graph.index import attribute
from autocompress.passes.prune.kept import KeptAxes
from autocompress.passes.prune.operands import OperandEditor

Adjustment = Callable[[NodeProto, KeptAxes, OperandEditor], None]


def _convolution(node: NodeProto, kept: KeptAxes, editor: OperandEditor) -> None:
    groups = int(str(attribute(node, "group", 1)))
    axes = kept.axes(node.input[0])
    if groups == 1 or len(axes) < 2 or axes[1] is None or (node.name, 1) not in kept.stored_operands:
        return
    each = kept.count(kept.stored(node.name, 1)[1])
    output = kept.axes(node.output[0])[1]
    channels = output if node.op_type == "ConvTranspose" else axes[1]
    assert channels is not None
    _set_attribute(node, "group", kept.count(channels) // each)


def _group_normalization(node: NodeProto, kept: KeptAxes, editor: OperandEditor) -> None:
    axes = kept.axes(node.output[0])
    if len(axes) > 1 and axes[1] is not None and kept.loses(axes[1]):
        each = axes[1].size // int(str(attribute(node, "num_groups", 1)))
        _set_attribute(node, "num_groups", kept.count(axes[1]) // each)


def _recurrence(node: NodeProto, kept: KeptAxes, editor: OperandEditor) -> None:
    if (node.name, 2) in kept.stored_operands and kept.loses(kept.stored(node.name, 2)[2]):
        _set_attribute(node, "hidden_size", kept.count(kept.stored(node.name, 2)[2]))


def _sizes_at(position: int) -> Adjustment:
    """For operators whose operand at a position gives sizes of the result."""

    def adjust(node: NodeProto, kept: KeptAxes, editor: OperandEditor) -> None:
        axes = kept.axes(node.output[0])
        if position >= len(node.input) or not node.input[position] or not any(kept.loses(axis) for axis in axes):
            return
        entries = stored_entries(editor.index, node, position) or kept.entries(node.input[position]) or ()
        given = attribute(node, "axes") if node.op_type == "Resize" else None
        places = [int(place) for place in given] if isinstance(given, list) else list(range(-len(entries), 0))
        for place, entry in zip(places, entries, strict=True):
            axis = axes[place]
            if axis is not None and isinstance(entry, Literal) and entry.value > 0 and kept.loses(axis):
                editor.set_number(entry.node, entry.position, entry.place, kept.count(axis))

    return adjust


def _split(node: NodeProto, kept: KeptAxes, editor: OperandEditor) -> None:
    place = int(str(attribute(node, "axis", 0)))
    parts = [kept.axes(name)[place] for name in node.output if kept.axes(name)]
    if len(parts) != len(node.output) or not any(kept.loses(part) for part in parts):
        return
    sizes = [kept.count(part) for part in parts if part is not None]
    editor.set(node.name, 1, np.asarray(sizes, np.int64))
    _drop_attribute(node, "num_outputs")


def _cut(node: NodeProto, kept: KeptAxes, editor: OperandEditor) -> None:
    axes = kept.axes(node.input[0])
    if not any(kept.loses(axis) for axis in axes):
        return
    count = editor.values(node.name, 1).size
    places = [int(i) for i in editor.values(node.name, 3)] if len(node.input) > 3 and node.input[3] else range(count)
    for i, place in enumerate(places):
        axis = axes[place]
        if axis is None or not kept.loses(axis):
            continue
        gone = kept.gone(axis)
        for position in (1, 2):
            bound = int(editor.values(node.name, position).reshape(-1)[i])
            start, _, _ = slice(bound, None).indices(axis.size)
            editor.set_number(node.name, position, i, int((~gone[:start]).sum()))


def _gather(node: NodeProto, kept: KeptAxes, editor: OperandEditor) -> None:
    place = int(str(attribute(node, "axis", 0)))
    axes = kept.axes(node.input[0])
    axis = axes[place] if axes else None
    if axis is None or not kept.loses(axis) or not editor.index.is_constant(node.input[1]):
        return
    gone = kept.gone(axis)
    numbers = editor.values(node.name, 1)
    chosen = numbers.astype(np.int64) % axis.size
    renumbered = np.cumsum(~gone) - 1
    editor.set(node.name, 1, renumbered[chosen[~gone[chosen]]].astype(numbers.dtype))


def _pad(node: NodeProto, kept: KeptAxes, editor: OperandEditor) -> None:
    before, after = kept.axes(node.input[0]), kept.axes(node.output[0])
    if not any(kept.loses(axis) for axis in after):
        return
    amounts = [int(i) for i in editor.values(node.name, 1).reshape(-1)]
    count = len(amounts) // 2
    places = [int(i) for i in editor.values(node.name, 3)] if len(node.input) > 3 and node.input[3] else range(count)
    for i, place in enumerate(places):
        axis, old = after[place], before[place]
        if isinstance(axis, Axis) and old is not None and kept.loses(axis):
            stays = ~kept.gone(axis)
            editor.set_number(node.name, 1, i, int(stays[: amounts[i]].sum()))
            editor.set_number(node.name, 1, i + count, int(stays[amounts[i] + old.size :].sum()))


def _set_attribute(node: NodeProto, name: str, value: int) -> None:
    _drop_attribute(node, name)
    node.attribute.append(helper.make_attribute(name, value))


def _drop_attribute(node: NodeProto, name: str) -> None:
    others = [own for own in node.attribute if own.name != name]
    del node.attribute[:]
    node.attribute.extend(others)


ADJUSTMENTS: Mapping[str, Adjustment] = MappingProxyType(
    {
        **dict.fromkeys(("Conv", "ConvTranspose"), _convolution),
        "GroupNormalization": _group_normalization,
        **dict.fromkeys(GATES, _recurrence),
        **dict.fromkeys(("Reshape", "Expand"), _sizes_at(1)),
        "ConstantOfShape": _sizes_at(0),
        "Resize": _sizes_at(3),
        "Split": _split,
        "Slice": _cut,
        "Gather": _gather,
        "Pad": _pad,
    }
)
"""Operator -> what about it has to follow its channels, besides its weights."""
