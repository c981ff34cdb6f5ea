"""What is known of a changed model's activations without running it.

Extremes and moments per channel scale and shift with the channels, exactly.  A histogram over all channels does not,
so range algorithms that read it need a second pass over the tensors named here.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import ModelProto

from autocompress.calibration.channels import ChannelStatistics
from autocompress.calibration.statistics import Statistics
from autocompress.passes.equalize.clips import without_bounds
from autocompress.passes.equalize.equalized import EqualizePayload
from autocompress.passes.equalize.layout import Layout
from autocompress.passes.equalize.network import DoubleArray, Network
from autocompress.passes.equalize.scaling import group_of, spread
from autocompress.passes.equalize.shifting import path_of, spread_shifts

Known = dict[str, ChannelStatistics | None]


def changed_channels(model: ModelProto, payload: EqualizePayload, statistics: Statistics) -> Known:
    """Statistics per channel of every tensor that a payload changes.

    Args:
        model: that the payload was made for.
        payload: of a pass; a removed bound counts as never reached.
        statistics: of ``model``.

    Returns:
        Tensor name -> its statistics in the changed model, or None where only another pass over the samples tells
        (and for tensors that ``statistics`` lack).  Inserted products are new tensors and are not listed.

    Raises:
        RecipeError: the payload does not fit the model.
    """
    network = Network(without_bounds(model, payload.unbounded) if payload.unbounded else model)
    known: Known = {}

    def current(name: str) -> ChannelStatistics | None:
        before = statistics[name].channels if name in statistics else None
        return known.get(name, before)

    for anchor, factors in payload.scales.items():
        for name, layout in group_of(network, anchor).tensors.items():
            known[name] = _divided(current(name), layout, factors)
    for anchor, amounts in payload.shifts.items():
        path = path_of(network, anchor)
        for name, layout in path.tensors.items():
            known[name] = _shifted(current(name), layout, amounts, cut_off=name != path.source)
    return known


def _divided(given: ChannelStatistics | None, layout: Layout, factors: DoubleArray) -> ChannelStatistics | None:
    ids = None if given is None else layout.vector(given.axis, given.sum.size)
    if given is None or ids is None:
        return None
    own = spread(factors, ids)
    return replace(
        given,
        minimum=(given.minimum / own).astype(np.float32),
        maximum=(given.maximum / own).astype(np.float32),
        sum=given.sum / own,
        sum_of_squares=given.sum_of_squares / own**2,
    )


def _shifted(
    given: ChannelStatistics | None, layout: Layout, amounts: DoubleArray, *, cut_off: bool
) -> ChannelStatistics | None:
    ids = None if given is None else layout.vector(given.axis, given.sum.size)
    if given is None or ids is None:
        return None
    own = spread_shifts(amounts, ids)
    if cut_off and (own > given.minimum).any():
        return None
    return replace(
        given,
        minimum=(given.minimum - own).astype(np.float32),
        maximum=(given.maximum - own).astype(np.float32),
        sum=given.sum - own * given.count,
        sum_of_squares=given.sum_of_squares - 2.0 * own * given.sum + own**2 * given.count,
    )
