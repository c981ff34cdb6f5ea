"""Which channels of a graph have to be removed together, and which cannot be removed.

``analyse_channels`` walks a graph once per layout of its weights (``walk``), asks a rule per operator where the
channels go (``rules``), and turns what is tied into groups (``groups``).  Nothing is guessed: an operator without a
rule keeps every channel it touches, and is named.
"""

from __future__ import annotations

from autocompress.graph.channels.groups import (
    Blocked,
    ChannelAnalysis,
    ChannelGroup,
    Member,
    analyse_channels,
)
from autocompress.graph.channels.shares import macs_shares

__all__ = ["Blocked", "ChannelAnalysis", "ChannelGroup", "Member", "analyse_channels", "macs_shares"]
