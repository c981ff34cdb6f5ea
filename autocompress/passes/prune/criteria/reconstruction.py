"""How much the layers that read a unit lose with it, from second moments of what they read.

Without the columns U of its weight a layer y = W x loses W_U x_U, whose mean square is tr(W_U E[x_U x_U'] W_U'),
relative to that of y (He et al., "Channel Pruning for Accelerating Very Deep Neural Networks", ICCV 2017, ask the
same of all channels at once).  Exact for one unit that goes alone; grouped and transposed convolutions, which have no
moments here, and units that only computed products read, count by their activations instead.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from autocompress.graph.channels import ChannelGroup, Member
from autocompress.graph.index import GraphIndex
from autocompress.passes.decompose.grams import input_grams
from autocompress.passes.decompose.layers import Layer, decomposable_layers, kernel_of
from autocompress.passes.prune.criteria.activation import activation
from autocompress.passes.prune.criteria.scoring import DoubleArray, Scores, Scoring


def reconstruction(scoring: Scoring) -> Scores:
    """Sum over the readers of the relative mean square change of their outputs.

    Raises:
        RecipeError: there are no samples.
        DataError: the samples are empty or give NaN.
    """
    batches = scoring.samples("reconstruction")
    layers, _ = decomposable_layers(scoring.model)
    index = GraphIndex(scoring.model)
    readings = {group.name: _readings(group, layers) for group in scoring.groups}
    wanted = {layer.name: layer for own in readings.values() for layer, _ in own}
    grams = input_grams(scoring.model, list(wanted.values()), batches, scoring.load) if wanted else {}
    scores: Scores = {}
    for group in scoring.groups:
        own = readings[group.name]
        parts = [_lost(group, member, layer, index, grams[layer.name]) for layer, member in own]
        scores[group.name] = np.sum(parts, axis=0) if parts else np.zeros(0)
    unread = tuple(group for group in scoring.groups if not readings[group.name])
    return {**scores, **activation(replace(scoring, groups=unread))} if unread else scores


def _readings(group: ChannelGroup, layers: dict[str, Layer]) -> list[tuple[Layer, Member]]:
    return [(layers[m.node], m) for m in group.members if m.role == "input" and m.node in layers]


def _lost(group: ChannelGroup, member: Member, layer: Layer, index: GraphIndex, gram: DoubleArray) -> DoubleArray:
    weight = kernel_of(layer, index).reshape(layer.outputs, -1)
    power = float(np.einsum("oi,ij,oj->", weight, gram, weight, optimize=True))
    lost = np.zeros(group.size)
    for unit in range(group.size):
        columns = np.flatnonzero(np.repeat(member.units == unit, layer.taps))
        own = weight[:, columns]
        lost[unit] = np.einsum("oi,ij,oj->", own, gram[np.ix_(columns, columns)], own, optimize=True)
    return lost / power if power > 0.0 else lost
