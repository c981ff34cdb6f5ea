"""Channels that are scaled together, as data."""

from __future__ import annotations

from dataclasses import dataclass

from autocompress.passes.equalize.equalized import Change
from autocompress.passes.equalize.layout import IdArray, Layout
from autocompress.passes.equalize.network import DoubleArray
from autocompress.passes.equalize.producers import Producer


@dataclass(frozen=True)
class Reader:
    """A layer whose weight undoes the factors.

    Attributes:
        node: its name.
        ids: channel of each of its input channels.
    """

    node: str
    ids: IdArray


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that are scaled together.

    Attributes:
        anchor: the tensor whose channels, in order, are the group's.
        channels: how many.
        producers: what writes them, in graph order.
        readers: layers that read them, in graph order.
        constants: (node, operand position) -> layout, of constants divided along with them.
        tensors: every tensor that is divided -> its layout.
        bounds: name of a Clip that they pass -> its upper bound.
    """

    anchor: str
    channels: int
    producers: tuple[Producer, ...]
    readers: tuple[Reader, ...]
    constants: dict[tuple[str, int], Layout]
    tensors: dict[str, Layout]
    bounds: dict[str, float]


def change_of(group: ChannelGroup, factors: DoubleArray) -> Change:
    """What happens to a group that is divided, for people."""
    return Change(
        tensor=group.anchor,
        producers=tuple(found.node for found in group.producers),
        readers=tuple(reader.node for reader in group.readers),
        smallest=float(factors.min()),
        largest=float(factors.max()),
    )
