"""New statistics for batch normalizations whose inputs have changed."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from autocompress.graph.index import GraphIndex
from autocompress.passes.recover.pair import Pair
from autocompress.passes.recover.samples import Feeds


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
    other = GraphIndex(pair.models[1])
    names: list[str] = []
    for node in pair.models[0].graph.node:
        twin = other.nodes.get(node.name)
        if node.op_type != "BatchNormalization" or twin is None or twin.op_type != node.op_type:
            continue
        weights = pair.student.weights
        if not all(name in weights for name in node.input[1:]):
            continue
        own_mean, own_variance = _moments(pair.student, chunks, node.input[0])
        mean, variance = _moments(pair.teacher, chunks, twin.input[0])
        if own_mean.shape != mean.shape or torch.equal(own_mean, mean):
            continue
        weights[node.input[3]].add_((own_mean - mean).to(own_mean.dtype))
        weights[node.input[4]].mul_(own_variance / variance.clamp_min(1e-12))
        names.append(node.name)
    return names


def _moments(graph: object, chunks: Sequence[Feeds], tensor: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance per channel (axis 1) over all samples."""
    parts = [graph.run(chunk, [tensor])[tensor] for chunk in chunks]  # type: ignore[attr-defined]
    flat = torch.cat([part.transpose(0, 1).reshape(part.shape[1], -1) for part in parts], 1)
    return flat.mean(1), flat.var(1, unbiased=False)
