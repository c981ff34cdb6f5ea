"""The largest weights per channel, kept up to date while channels are being scaled."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from autocompress.passes.equalize.channel_group import ChannelGroup
from autocompress.passes.equalize.layers import magnitudes
from autocompress.passes.equalize.layout import IdArray
from autocompress.passes.equalize.network import DoubleArray, Network
from autocompress.passes.equalize.scaling import spread


class Magnitudes:
    """Largest magnitude per pair of output and input channel of every layer that groups touch.

    Args:
        network: the model.
        groups: whose layers are looked at.
    """

    def __init__(self, network: Network, groups: Iterable[ChannelGroup]) -> None:
        self._layers: dict[str, DoubleArray] = {}
        for name in dict.fromkeys(name for group in groups for name in touched(group)):
            node = network.node(name)
            self._layers[name] = magnitudes(node, network.index.weight(node.input[1]))

    def written(self, group: ChannelGroup) -> DoubleArray:
        """Largest weight that writes each channel, of shape (channels,); 0 where only normalizations write it."""
        found = np.zeros(group.channels)
        for producer in group.producers:
            if producer.ids is not None:
                _raise_to(found, producer.ids, self._layers[producer.node].max(axis=2).reshape(-1))
        return found

    def read(self, group: ChannelGroup) -> DoubleArray:
        """Largest weight that reads each channel, of shape (channels,)."""
        found = np.zeros(group.channels)
        for reader in group.readers:
            _raise_to(found, reader.ids, self._layers[reader.node].max(axis=1).reshape(-1))
        return found

    def divide(self, group: ChannelGroup, factors: DoubleArray) -> None:
        """Divides a group's channels by factors of shape (channels,)."""
        for producer in group.producers:
            if producer.ids is not None:
                layer = self._layers[producer.node]
                layer /= spread(factors, producer.ids).reshape(layer.shape[0], layer.shape[1], 1)
        for reader in group.readers:
            layer = self._layers[reader.node]
            layer *= spread(factors, reader.ids).reshape(layer.shape[0], 1, layer.shape[2])


def touched(group: ChannelGroup) -> list[str]:
    """Names of the layers whose weights a group scales."""
    writers = [producer.node for producer in group.producers if producer.ids is not None]
    return writers + [reader.node for reader in group.readers]


def largest_per_channel(channels: int, ids: IdArray, values: DoubleArray) -> DoubleArray:
    """The largest of the values that belong to each channel, 0 where there are none."""
    found = np.zeros(channels)
    _raise_to(found, ids, values)
    return found


def _raise_to(found: DoubleArray, ids: IdArray, values: DoubleArray) -> None:
    inside = ids >= 0
    np.maximum.at(found, ids[inside], values[inside])
