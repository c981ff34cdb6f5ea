"""First-order Taylor expansion of the model's own output, without labels.

    score(u) = mean over samples of (sum over the unit's activations a of a dL/da)^2

(Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019, equation 8).  With no labels the loss
has to come from the output y itself.  Any distance to y has gradient zero at y, so L is a random projection v' y with
v normal for every output, whose expected squared change is that of all outputs: E[(v' dy)^2] = |dy|^2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from autocompress.errors import DataError
from autocompress.passes.prune.criteria.scoring import (
    DoubleArray,
    Scores,
    Scoring,
    axis_units,
    normalized,
    per_unit,
    tensors_of,
)

_SEED = 0


def taylor(scoring: Scoring) -> Scores:
    """Mean square first-order change of the output per unit, each tensor's with mean 1, summed over tensors.

    Raises:
        RecipeError: there are no samples.
        DataError: the samples are empty, or make gradients infinite.
        ModelError: the model has an operator that torch execution does not know.
    """
    batches = scoring.samples("taylor")
    from autocompress.graph.torch_execution.torch_graph import TorchGraph

    graph = TorchGraph(scoring.model)
    graph.trainable(graph.weights)
    shown = tensors_of(scoring)
    places = [
        (group, tensor, place, units)
        for group in scoring.groups
        for tensor in shown[group.name]
        for place, units in axis_units(scoring, group, tensor)
    ]
    tensors = list(dict.fromkeys(tensor for _, tensor, _, _ in places))
    sums: list[DoubleArray] = [np.zeros(group.size) for group, _, _, _ in places]
    count = 0
    for batch in batches():
        changes = _changes(graph, {name: batch[name] for name in graph.inputs}, tensors, _SEED + count)
        for total, (group, tensor, place, units) in zip(sums, places, strict=True):
            for sample in np.moveaxis(np.atleast_2d(changes[tensor]), place, 1):
                along = sample.reshape(len(units), -1).sum(axis=1, dtype=np.float64)
                total += per_unit(group, units, along) ** 2
        count += 1
    if count == 0:
        raise DataError("there are no samples to score channels with; give --data with at least one")
    scores = {group.name: np.zeros(group.size) for group in scoring.groups}
    for total, (group, tensor, _, _) in zip(sums, places, strict=True):
        if not np.isfinite(total).all():
            raise DataError(f"the samples make gradients at {tensor!r} infinite or NaN; check the preprocessing")
        scores[group.name] += normalized(total)
    return scores


def _changes(graph: Any, feeds: dict[str, Any], tensors: Sequence[str], seed: int) -> dict[str, npt.NDArray[Any]]:
    """Tensor name -> a dL/da of every activation."""
    import torch

    values = graph.run(feeds, [*tensors, *graph.outputs])
    generator = torch.Generator().manual_seed(seed)
    loss = torch.zeros(())
    for name in graph.outputs:
        output = values[name]
        if output.requires_grad:
            loss = loss + (output * torch.randn(output.shape, generator=generator)).sum()
    given = [values[name] for name in tensors]
    gradients = torch.autograd.grad(loss, given, allow_unused=True)
    return {
        name: (np.zeros(value.shape) if gradient is None else (value.detach() * gradient).numpy())
        for name, value, gradient in zip(tensors, given, gradients, strict=True)
    }
