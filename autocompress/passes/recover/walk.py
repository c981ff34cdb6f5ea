"""Runs of a graph on many batches at once, from one tensor to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from autocompress.graph.torch_execution.paused_run import PausedRun
from autocompress.graph.torch_execution.torch_graph import TorchGraph


class Walk:
    """Goes on with all batches together and keeps only what later tensors need.

    Args:
        graph: the graph; its weights are read as they are when their node runs.
        chunks: its inputs, batch by batch.
        tensors: to stop at, in graph order.
    """

    def __init__(self, graph: TorchGraph, chunks: Sequence[Mapping[str, Any]], tensors: Sequence[str]) -> None:
        self._runs = [PausedRun(graph, chunk, tensors) for chunk in chunks]

    def advance(self) -> list[torch.Tensor]:
        """The next tensor, for every batch."""
        return [run.advance() for run in self._runs]

    def held_bytes(self) -> int:
        """Memory of what is kept now."""
        return sum(run.held_bytes() for run in self._runs)


@torch.no_grad()  # type: ignore[untyped-decorator]
def most_held_bytes(walks: Sequence[Walk], stops: int) -> int:
    """The most memory that walks keep which go on in turn.

    Args:
        walks: at their beginning; they are used up.
        stops: of each of them.
    """
    most = sum(walk.held_bytes() for walk in walks)
    for _ in range(stops):
        for walk in walks:
            walk.advance()
        most = max(most, sum(walk.held_bytes() for walk in walks))
    return most
