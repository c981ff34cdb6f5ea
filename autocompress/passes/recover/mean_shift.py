"""Channel means of a layer whose maps have another size than the teacher's.

Where a student computes with smaller images, its maps show other details than the teacher's: there is no pixel that
should be equal, and least squares on resampled maps fits what a blur does (a MobileNetV2 at 192 instead of 224 pixels
fell from 80.8 to 52.5 points of top-1).  What must agree are the means over places, because the network ends in a mean:
the bias takes up how far they went apart, as bias correction does (Nagel et al., arXiv 1906.04721, section 4.2).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from autocompress.passes.recover.linear_layer import LinearLayer
from autocompress.passes.recover.pair import Pair
from autocompress.passes.recover.twins import channels_of


def maps_differ(pair: Pair, layer: LinearLayer, source: torch.Tensor, target: torch.Tensor) -> bool:
    """Whether the student's result at a layer, from its input, has another height and width than the teacher's."""
    target = channels_of(target, pair.twins[layer.node.output[0]], layer.channel_axis)
    return bool(_result(pair, layer, source[:1]).shape[1:] != target.shape[1:])


def shift_means(
    pair: Pair, layer: LinearLayer, inputs: Sequence[torch.Tensor], targets: Sequence[torch.Tensor], fitting: int
) -> bool:
    """Moves the bias of each channel by what its mean lacks, where that is so on held-out batches too.

    Args:
        pair: student and teacher.
        layer: of the student.
        inputs: what it reads, batch by batch.
        targets: what the teacher computes there.
        fitting: so many of the batches are fitted, the others judge.

    Returns:
        Whether any channel moved.
    """
    if layer.bias is None:
        return False
    twins, axis = pair.twins[layer.node.output[0]], layer.channel_axis
    fitted, judged = (
        _mean((channels_of(y, twins, axis) for y in targets[part]), axis)
        - _mean((_result(pair, layer, x) for x in inputs[part]), axis)
        for part in (slice(0, fitting), slice(fitting, None))
    )
    gains = (judged - fitted).abs() < judged.abs()
    kept = pair.masks.get(layer.node.input[1])
    if kept is not None:
        gains &= layer.matrix(kept).amax(1).reshape(-1) > 0
    layer.bias.add_(torch.where(gains, fitted, torch.zeros_like(fitted)))
    return bool(gains.any())


def _result(pair: Pair, layer: LinearLayer, source: torch.Tensor) -> torch.Tensor:
    output = layer.node.output[0]
    return pair.student.run({layer.node.input[0]: source}, [output])[output]


def _mean(parts: Iterable[torch.Tensor], axis: int) -> torch.Tensor:
    """Per channel, over samples and places of all parts."""
    total, count = torch.zeros(()), 0
    for part in parts:
        rows = part.transpose(axis, -1).reshape(-1, part.shape[axis])
        total, count = total + rows.sum(0), count + len(rows)
    return total / count
