"""New statistics for batch normalizations whose inputs have changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from autocompress.graph.index import GraphIndex
from autocompress.passes.recover.pair import Pair
from autocompress.passes.recover.samples import Feeds
from autocompress.passes.recover.walk import Walk


@torch.no_grad()  # type: ignore[untyped-decorator]
def correct_batch_norms(pair: Pair, chunks: Sequence[Feeds]) -> list[str]:
    """Shifts the statistics of the student's BatchNormalizations by what changed at their inputs, in graph order.

    The stored mean moves by the difference of the means that student and teacher see on the same samples, the stored
    variance by the ratio of their variances; where nothing changed, nothing moves.

    Args:
        pair: student and teacher.
        chunks: samples, batch by batch.

    Returns:
        Names of the normalizations.
    """
    other, weights = GraphIndex(pair.models[1]), pair.student.weights
    twins = {
        node.name: (node, other.nodes[node.name])
        for node in pair.models[0].graph.node
        if node.op_type == "BatchNormalization"
        and node.name in other.nodes
        and other.nodes[node.name].op_type == node.op_type
        and all(name in weights for name in node.input[1:])
    }
    own = Walk(pair.student, chunks, [node.input[0] for node, _ in twins.values()])
    wanted = Walk(pair.teacher, chunks, [twin.input[0] for _, twin in twins.values()])
    names: list[str] = []
    for name, (node, _) in twins.items():
        own_mean, own_variance = _moments(own.advance())
        mean, variance = _moments(wanted.advance())
        if own_mean.shape != mean.shape or torch.equal(own_mean, mean):
            continue
        weights[node.input[3]].add_((own_mean - mean).to(weights[node.input[3]].dtype))
        weights[node.input[4]].mul_(own_variance / variance.clamp_min(1e-12))
        names.append(name)
    return names


def _moments(parts: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance per channel (axis 1) over all batches, in double precision."""

    def mean_of(rows: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        count = sum(part.numel() // part.shape[1] for part in parts)
        total: torch.Tensor = sum(rows(_by_channel(part)).sum(1) for part in parts) / count
        return total

    mean = mean_of(lambda rows: rows)
    return mean, mean_of(lambda rows: (rows - mean[:, None]).square())


def _by_channel(part: torch.Tensor) -> torch.Tensor:
    return part.transpose(0, 1).reshape(part.shape[1], -1).double()
