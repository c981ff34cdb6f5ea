"""Takes channels out of a model: stored tensors get smaller, and what counts channels is adjusted."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import ModelProto

from autocompress.errors import RecipeError
from autocompress.graph.channels import ChannelAnalysis
from autocompress.graph.inference import drop_annotations
from autocompress.graph.model import copy_model
from autocompress.passes.prune.adjustments import ADJUSTMENTS
from autocompress.passes.prune.kept import KeptAxes
from autocompress.passes.prune.operands import OperandEditor
from autocompress.passes.prune.payload import IntArray

_MASKED = frozenset({"output", "input", "bias", "scale"})


def without_units(model: ModelProto, analysis: ChannelAnalysis, removed: Mapping[str, IntArray]) -> ModelProto:
    """A copy without some units, with physically smaller tensors.

    Args:
        model: that ``analysis`` was made for; not changed.
        analysis: its channels.
        removed: group name -> numbers of the units that go.

    Raises:
        RecipeError: a tensor would become empty.
    """
    kept = KeptAxes(analysis, removed)
    _check_not_empty(analysis, kept)
    result = copy_model(model)
    editor = OperandEditor(result)
    for (node, position), stored in analysis.followed.stored.items():
        gone = [kept.gone(axis) for axis in stored.axes]
        if any(own.any() for own in gone):
            chosen = np.ix_(*(np.flatnonzero(~own) for own in gone))
            editor.set(node, position, np.ascontiguousarray(editor.values(node, position)[chosen]))
    for node_proto in result.graph.node:
        adjust = ADJUSTMENTS.get(node_proto.op_type)
        if adjust is not None:
            adjust(node_proto, kept, editor)
    editor.write()
    drop_annotations(result)
    return result


def with_zeroed_units(model: ModelProto, analysis: ChannelAnalysis, removed: Mapping[str, IntArray]) -> ModelProto:
    """A copy in which the weights that write and read some units are zero, and every shape stays.

    It computes what the model without these units computes, up to the order of sums.

    Args:
        model: that ``analysis`` was made for; not changed.
        analysis: its channels.
        removed: group name -> numbers of the units that go.
    """
    kept = KeptAxes(analysis, removed)
    result = copy_model(model)
    editor = OperandEditor(result)
    for (node, position), stored in analysis.followed.stored.items():
        for i, (axis, role) in enumerate(zip(stored.axes, stored.roles, strict=True)):
            gone = kept.gone(axis)
            if role in _MASKED and gone.any():
                values = editor.values(node, position).copy()
                values[(slice(None),) * i + (gone,)] = 0
                editor.set(node, position, values)
    editor.write()
    return result


def _check_not_empty(analysis: ChannelAnalysis, kept: KeptAxes) -> None:
    for name, axes in analysis.followed.axes.items():
        for axis in axes:
            if axis is not None and axis.size > 0 and kept.count(axis) == 0:
                raise RecipeError(
                    f"prune step: the ratios would empty the tensor {name!r}; choose smaller ones for "
                    f"{', '.join(kept.groups_of(axis))}"
                )
