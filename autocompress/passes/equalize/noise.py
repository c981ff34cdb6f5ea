"""The error to expect from quantizing what layers read and their weights, for given factors.

A rounded value is off by step^2 / 12 on average.  For a layer y = W x whose channels x_i are divided by s_i, with the
tensors on the way to it quantized by steps d_t and each output channel o of its weight by a step d_o,

    activations   sum_t d_t^2 / 12 * (1 - z_t) * sum_oi (W_oi s_i)^2
    weights       sum_o d_o^2 / 12 * sum_i E[x_i^2] / s_i^2

both relative to the power sum_oi W_oi^2 E[x_i^2] of the result (channels taken as uncorrelated); z_t is the share of
values that are zero, which are exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autocompress.calibration.statistics import Statistics, TensorStatistics
from autocompress.passes.equalize.channel_group import ChannelGroup
from autocompress.passes.equalize.layers import canonical
from autocompress.passes.equalize.layout import IdArray
from autocompress.passes.equalize.network import DoubleArray, Network, NotScalable
from autocompress.passes.equalize.scaling import WeightEditor, spread

_ACTIVATION_LEVELS = 255.0
_WEIGHT_LEVELS = 127.0


@dataclass(frozen=True)
class _Tensor:
    """A quantized tensor of a group: the range of each of its channels."""

    ids: IdArray
    low: DoubleArray
    high: DoubleArray
    inexact: float

    def variance(self, factors: DoubleArray) -> float:
        """Of its rounding, with one step for all channels, when they are divided."""
        own = spread(factors, self.ids)
        low, high = min(float((self.low / own).min()), 0.0), max(float((self.high / own).max()), 0.0)
        return ((high - low) / _ACTIVATION_LEVELS) ** 2 / 12.0 * self.inexact


@dataclass(frozen=True)
class _Layer:
    """A layer that reads a group: of shapes (I,), (groups, O/g, I/g), (I,) and ()."""

    ids: IdArray
    power: DoubleArray
    largest: DoubleArray
    energy: DoubleArray
    kernel: int

    def noise(self, factors: DoubleArray, variance: float) -> float:
        """Relative error when its inputs are divided and have a rounding error of this variance."""
        own = spread(factors, self.ids)
        grouped = own.reshape(self.largest.shape[0], 1, -1)
        steps = (self.largest * grouped).max(axis=2) / _WEIGHT_LEVELS
        inputs = (self.power / own**2).reshape(self.largest.shape[0], -1).sum(axis=1)
        weights = float(((steps**2).sum(axis=1) * inputs).sum()) / 12.0 * self.kernel
        signal = float((self.energy * self.power).sum())
        return (variance * float((self.energy * own**2).sum()) + weights) / signal if signal > 0.0 else 0.0


class ExpectedNoise:
    """Expected quantization error of the layers that read a group, as a function of its factors.

    Int8 with one step per activation tensor and per output channel of a weight.

    Args:
        group: the channels.
        network: the model.
        statistics: of its quantized tensors, with channels.
        weights: as scaled so far.

    Raises:
        NotScalable: there are no statistics per channel of what a layer reads.
    """

    def __init__(self, group: ChannelGroup, network: Network, statistics: Statistics, weights: WeightEditor) -> None:
        names = dict.fromkeys((*group.tensors, group.anchor))
        found = (_tensor(group, name, statistics[name]) for name in names if name in statistics)
        self._tensors = [tensor for tensor in found if tensor is not None]
        self._layers = [_layer(group, i, network, statistics, weights) for i in range(len(group.readers))]

    def __call__(self, factors: DoubleArray) -> float:
        """Sum over the layers of their relative errors; ``factors`` of shape (channels,)."""
        variance = sum(tensor.variance(factors) for tensor in self._tensors)
        return sum(layer.noise(factors, variance) for layer in self._layers)


def _tensor(group: ChannelGroup, name: str, statistics: TensorStatistics) -> _Tensor | None:
    channels = statistics.channels
    if channels is None:
        return None
    if name in group.tensors:
        ids = group.tensors[name].vector(channels.axis, channels.sum.size)
    else:
        ids = np.arange(group.channels) if channels.sum.size == group.channels else None
    if ids is None:
        return None
    inexact = 1.0 - statistics.zeros / max(statistics.count, 1)
    return _Tensor(ids, channels.minimum.astype(np.float64), channels.maximum.astype(np.float64), inexact)


def _layer(group: ChannelGroup, i: int, network: Network, statistics: Statistics, weights: WeightEditor) -> _Layer:
    reader = group.readers[i]
    node = network.node(reader.node)
    channels = statistics[node.input[0]].channels if node.input[0] in statistics else None
    if channels is None or channels.sum.shape != reader.ids.shape:
        raise NotScalable(f"there are no statistics per channel of {node.input[0]!r}")
    view = canonical(node, weights.weight(reader.node))
    return _Layer(
        ids=reader.ids,
        power=channels.second_moment,
        largest=np.abs(view).max(axis=3),
        energy=(view**2).sum(axis=(1, 3)).reshape(-1),
        kernel=view.shape[3],
    )
