"""Brings statistics of the tensors that layers read to the channels of a group."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from autocompress.passes.equalize.channel_group import ChannelGroup
from autocompress.passes.equalize.magnitudes import largest_per_channel
from autocompress.passes.equalize.network import DoubleArray, Network, NotScalable

PerInput = Callable[[str], DoubleArray | None]
"""Tensor name -> one number per input channel of the layers that read it, or None where that is not known."""


def per_channel(group: ChannelGroup, network: Network, of_tensor: PerInput) -> DoubleArray:
    """The largest number of each channel over all tensors through which layers read it, of shape (channels,).

    Raises:
        NotScalable: a tensor is not known, or its numbers are not one per input channel.
    """
    found = None
    for reader in group.readers:
        tensor = network.node(reader.node).input[0]
        values = of_tensor(tensor)
        if values is None or values.shape != reader.ids.shape:
            raise NotScalable(f"there are no statistics per channel of {tensor!r}")
        own = largest_per_channel(group.channels, reader.ids, values)
        found = own if found is None else np.maximum(found, own)
    assert found is not None
    return found
