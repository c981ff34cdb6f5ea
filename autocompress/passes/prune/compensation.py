"""A pruned model whose layers make up for what they read no more: each reader's other columns solved anew.

With S the columns that stay and R those that go, W_S + W_R G_RS (G_SS)^-1 is the best weight for y = W x, where G = E[x
x'] (He et al., "Channel Pruning for Accelerating Very Deep Neural Networks", ICCV 2017, section 3.1).  G is that of
the model before anything went, so layers are solved alone and in no time; ``passes.recover`` does the same in sequence.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from autocompress.graph.channels import ChannelAnalysis
from autocompress.graph.model import copy_model
from autocompress.passes.prune.kept import KeptAxes
from autocompress.passes.prune.moments import Reader
from autocompress.passes.prune.operands import OperandEditor
from autocompress.passes.prune.payload import IntArray
from autocompress.passes.prune.removal import without_units


def compensated(
    model: ModelProto, analysis: ChannelAnalysis, removed: Mapping[str, IntArray], readers: Mapping[str, Reader]
) -> ModelProto:
    """A copy without some units, in which the layers that read them are adapted.

    Args:
        model: that ``analysis`` was made for; not changed.
        analysis: its channels.
        removed: group name -> numbers of the units that go.
        readers: node name -> moments of the layers to adapt, taken on ``model``.

    Raises:
        RecipeError: a tensor would become empty.
    """
    kept = KeptAxes(analysis, removed)
    changed = copy_model(model)
    editor = OperandEditor(changed)
    for name, reader in readers.items():
        channels = _inputs_that_go(analysis, kept, name)
        if channels.any() and not channels.all():
            _adapt(editor, reader, np.repeat(channels, reader.layer.taps))
    editor.write()
    return without_units(changed, analysis, removed)


def _inputs_that_go(analysis: ChannelAnalysis, kept: KeptAxes, node: str) -> npt.NDArray[np.bool_]:
    stored = analysis.followed.stored.get((node, 1))
    if stored is None or "input" not in stored.roles:
        return np.zeros(1, np.bool_)
    return kept.gone(stored.axes[stored.roles.index("input")])


def _adapt(editor: OperandEditor, reader: Reader, gone: npt.NDArray[np.bool_]) -> None:
    """Sets the columns that stay, and the bias."""
    layer = reader.layer
    out = np.flatnonzero(gone)
    stays = np.flatnonzero(~np.append(gone, np.zeros(int(reader.has_bias), np.bool_)))
    gram = reader.gram
    change = np.linalg.solve(gram[np.ix_(stays, stays)], gram[np.ix_(stays, out)] @ reader.weight[:, out].T).T
    weight = reader.weight.copy()
    weight[:, stays] += change
    if reader.has_bias:
        bias = editor.values(layer.name, 2)
        editor.set(layer.name, 2, (bias.astype(np.float64) + weight[:, -1]).astype(bias.dtype))
        weight = weight[:, :-1]
    old = editor.values(layer.name, 1)
    shaped = weight if layer.op_type == "Conv" or layer.transposed else weight.T
    editor.set(layer.name, 1, np.ascontiguousarray(shaped.reshape(old.shape), dtype=old.dtype))
