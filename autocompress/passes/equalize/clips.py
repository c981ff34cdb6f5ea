"""Activations with an upper bound: when it can be left alone, and when it can go."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from onnx import ModelProto

from autocompress.calibration.histogram import HALF
from autocompress.calibration.statistics import Statistics, TensorStatistics
from autocompress.errors import RecipeError
from autocompress.graph.model import copy_model
from autocompress.graph.rewrite import drop_dead
from autocompress.passes.equalize.channel_group import ChannelGroup
from autocompress.passes.equalize.elementwise import upper_bound
from autocompress.passes.equalize.magnitudes import largest_per_channel
from autocompress.passes.equalize.network import DoubleArray, Network, NotScalable

# Rounding may leave a clipped value a little below its bound.
REACHED = 1.0 - 1e-6


def bounds_on_factors(
    group: ChannelGroup, network: Network, statistics: Statistics, headroom: float
) -> tuple[DoubleArray, DoubleArray]:
    """Smallest and largest factors with which no Clip of a group acts differently on the calibration data.

    Args:
        group: with Clips among its nodes.
        network: the model.
        statistics: of the Clips' results, with channels.
        headroom: how much larger than the calibrated maximum values may become before a bound clips them.

    Returns:
        Two arrays of shape (channels,); both are 1 where a channel reaches its bound.

    Raises:
        NotScalable: there are no statistics per channel of a Clip's result.
    """
    low, high = np.zeros(group.channels), np.full(group.channels, np.inf)
    for name, bound in group.bounds.items():
        tensor = network.node(name).output[0]
        channels = statistics[tensor].channels if tensor in statistics else None
        axis = 0 if channels is None else channels.axis
        ids = None if channels is None else group.tensors[tensor].vector(axis, channels.sum.size)
        if channels is None or ids is None:
            raise NotScalable(f"there are no statistics per channel of {tensor!r}")
        largest = largest_per_channel(group.channels, ids, channels.maximum.astype(np.float64))
        reached = largest >= bound * REACHED
        low = np.maximum(low, np.where(reached, 1.0, np.minimum(largest * headroom / bound, 1.0)))
        high = np.where(reached, 1.0, high)
    return low, high


def fitted(wanted: DoubleArray, low: DoubleArray, high: DoubleArray, bounded: bool) -> DoubleArray:
    """The wanted factors within limits.

    Where there are bounds, all factors first get a common one, which no weight range notices: the one with which
    channels that must keep their scale fit in best, or with which the others stay off their bounds.
    """
    common = 1.0
    if bounded:
        fixed = low == high
        common = float(np.exp(-np.log(wanted[fixed]).mean())) if fixed.any() else max(1.0, float((low / wanted).max()))
    return np.clip(wanted * common, low, high)


def removable_bounds(network: Network, statistics: Statistics, saturated_share: float) -> tuple[str, ...]:
    """Clips from zero to a bound that no more than a share of the calibrated values reach, in graph order."""
    found = []
    for node in network.index.graph.node:
        if node.domain or node.op_type != "Clip" or node.output[0] not in statistics:
            continue
        try:
            bound = upper_bound(node, network)
        except NotScalable:
            continue
        if bound < np.inf and reached_share(statistics[node.output[0]], bound) <= saturated_share:
            found.append(node.name)
    return tuple(found)


def reached_share(statistics: TensorStatistics, bound: float) -> float:
    """Share of a clipped tensor's values that are at its upper bound.

    Exact where the bound is a multiple of the bin width, as small whole numbers are; else values in its bin count too.
    """
    if statistics.count == 0 or statistics.maximum < bound * REACHED:
        return 0.0
    histogram = statistics.histogram
    first = HALF + int(np.floor(statistics.maximum / histogram.width))
    return float(histogram.counts[first:].sum() / statistics.count)


def without_bounds(model: ModelProto, names: Collection[str]) -> ModelProto:
    """A copy in which the named Clips have no upper bound.

    Raises:
        RecipeError: the model has no Clip of that name.
    """
    changed = copy_model(model)
    clips = {node.name: node for node in changed.graph.node if node.op_type == "Clip" and not node.domain}
    for name in names:
        if name not in clips:
            raise RecipeError(f"the recipe changes the Clip {name!r}, which this model does not have")
        del clips[name].input[2:]
    drop_dead(changed)
    return changed
