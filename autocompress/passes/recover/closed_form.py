"""Layer after layer, the weights that best give the teacher's outputs from the student's inputs.

Inputs are those that the student computes with the layers ahead already reconstructed, so that each layer also makes up
for the ones before it (as in He et al., "Channel Pruning", arXiv 1707.06168, section 3.1, with the teacher's output as
the target).  The change of the bias alone is bias correction (Nagel et al., arXiv 1906.04721, section 4.2).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from autocompress.graph.torch_execution.torch_graph import TorchGraph
from autocompress.passes.recover.config import RecoverConfig
from autocompress.passes.recover.least_squares import NormalEquations
from autocompress.passes.recover.linear_layer import LinearLayer, linear_layers
from autocompress.passes.recover.pair import Pair
from autocompress.passes.recover.samples import Feeds, Samples
from autocompress.passes.recover.statistics import correct_batch_norms
from autocompress.passes.recover.twins import channels_of
from autocompress.progress import Progress

_MOST_UNITS, _FEWEST_UNITS = 384, 32  # to fit on
_INPUT_BYTES = 32 * 2**20  # of all units together; inner tensors that live at the same time are several times as large
_FEWEST_POSITIONS, _MOST_POSITIONS = 16, 256  # of a map or sequence, per sample
_ROWS_PER_INPUT = 64  # of a layer: more rows of the same samples hardly tell more
_NEXT_SEED = 7919  # from one batch to the next, so that each gives other positions
_UNITS_AT_ONCE = 16
_RIDGES = (1.0, 10.0, 100.0)  # times the configuration's
_CLOSE = 1e-6  # relative error below which a layer already does what the teacher's does


@torch.no_grad()  # type: ignore[untyped-decorator]
def reconstruct_layers(pair: Pair, samples: Samples, config: RecoverConfig, progress: Progress) -> list[str]:
    """Changes the student's weights, wherever that brings held-out outputs closer to the teacher's.

    Args:
        pair: student and teacher.
        samples: some are used to fit, others to judge.
        config: ``ridge``, ``held_out`` and ``seed`` count.
        progress: told about layers.

    Returns:
        Names of the layers that were changed.
    """
    most = _units(samples)
    fitted, judged = (positions[:most] for positions in samples.split(max(config.held_out, 0.25), config.seed))
    size = _UNITS_AT_ONCE
    chunks = [batch.feeds for batch in samples.in_order(fitted, size)]
    fitting = len(chunks)
    chunks += [batch.feeds for batch in samples.in_order(judged, size)]
    correct_batch_norms(pair, chunks[:fitting])
    layers = [layer for layer in linear_layers(pair.models[0], pair.student) if layer.node.output[0] in pair.twins]
    own = Walk(pair.student, chunks, [layer.node.input[0] for layer in layers])
    wanted = Walk(pair.teacher, chunks, [layer.node.output[0] for layer in layers])
    changed: list[str] = []
    for position, layer in enumerate(layers):
        equations = _gather(pair, layer, own.advance(), wanted.advance(), (fitting, config.seed + position))
        if _reconstruct(pair, layer, equations, config.ridge):
            changed.append(layer.node.name)
        progress.detail(f"layer {position + 1} of {len(layers)}")
    return changed


def _units(samples: Samples) -> int:
    """How many units are used: as many as their inner tensors leave memory for."""
    feeds = samples.take(np.zeros(1, np.int64))[0].feeds
    fit = _INPUT_BYTES // max(1, sum(array.nbytes for array in feeds.values()))
    return min(_MOST_UNITS, max(_FEWEST_UNITS, fit))


class Walk:
    """Runs a graph from one tensor to the next on all batches, keeping only what later tensors need.

    Args:
        graph: the graph.
        chunks: its inputs, batch by batch.
        tensors: to stop at, in graph order.
    """

    def __init__(self, graph: TorchGraph, chunks: Sequence[Feeds], tensors: Sequence[str]) -> None:
        self._graph = graph
        self._values = [dict(chunk) for chunk in chunks]
        self._left = list(tensors)

    def advance(self) -> list[torch.Tensor]:
        """The next tensor, for every batch; weights are read as they are now."""
        tensor = self._left[0]
        results = []
        for values in self._values:
            values.update(self._graph.run(values, [tensor]))
            results.append(values[tensor])
        self._left.pop(0)
        needed = self._graph.tensors_read(self._values[0], self._left) if self._left else set()
        for values in self._values:
            for name in set(values) - needed:
                del values[name]
        return results


def _gather(
    pair: Pair,
    layer: LinearLayer,
    inputs: Sequence[torch.Tensor],
    targets: Sequence[torch.Tensor],
    choice: tuple[int, int],
) -> tuple[NormalEquations, NormalEquations, float]:
    """Normal equations of the fitting and of the judging batches, and the relative error as it is."""
    fitting, seed = choice
    equations = NormalEquations(), NormalEquations()
    error, power = 0.0, 0.0
    source, output = layer.node.input[0], layer.node.output[0]
    most = _positions(layer, sum(len(x) for x in inputs[:fitting]))
    for position, (x, target) in enumerate(zip(inputs, targets, strict=True)):
        own = pair.student.run({source: x}, [output])[output]
        target = channels_of(target, pair.twins[output], layer.channel_axis)
        missing = target - own
        error, power = error + float(missing.square().sum()), power + float(target.square().sum())
        rows, values = layer.rows(x, missing, most, seed + _NEXT_SEED * position)
        if layer.bias is not None:
            rows = torch.cat([rows, rows.new_ones(*rows.shape[:2], 1)], 2)
        equations[position >= fitting].add(rows, values)
    return (*equations, error / power if power else 0.0)


def _positions(layer: LinearLayer, samples: int) -> int:
    """How many positions of each sample give enough rows."""
    wanted = _ROWS_PER_INPUT * int(layer.matrix(layer.weight).shape[1])
    return min(max(-(-wanted // max(1, samples)), _FEWEST_POSITIONS), _MOST_POSITIONS)


def _reconstruct(
    pair: Pair, layer: LinearLayer, gathered: tuple[NormalEquations, NormalEquations, float], ridge: float
) -> bool:
    """Sets the layer's weights where held-out rows gain; whether they did."""
    fitted, judged, error = gathered
    if error < _CLOSE**2:
        return False
    mask = _structured_mask(pair, layer)
    if mask is None:
        return False
    changes = [fitted.solve(ridge * factor) for factor in _RIDGES]
    for change in changes:
        change[:, : mask.shape[1]] *= mask
        if layer.bias is not None:
            change[:, -1] *= mask.amax(1)
    gains = [judged.gain(change) for change in changes]
    best = max(range(len(changes)), key=gains.__getitem__)
    if not gains[best] > 0.0:
        return False
    change = changes[best].to(layer.weight.dtype)
    layer.weight.add_(layer.weight_from(change[:, : mask.shape[1]]))
    if layer.bias is not None:
        layer.bias.add_(change[:, -1].reshape(-1))
    return True


def _structured_mask(pair: Pair, layer: LinearLayer) -> torch.Tensor | None:
    """Ones where weights may change, of shape (G, inputs, outputs / G).

    None where zeros form no rows and columns: then inputs that one output may use are barred to another, and one
    solution for all outputs would be cut apart by the mask.
    """
    kept = pair.masks.get(layer.node.input[1])
    if kept is None:
        return torch.ones_like(layer.matrix(layer.weight), dtype=torch.float64)
    mask = layer.matrix(kept).double()
    block: torch.Tensor = mask.amax(2, keepdim=True) * mask.amax(1, keepdim=True)
    # Inputs that are silenced are zero in every row, so that least squares leaves their weights alone by itself; a few
    # zeros by chance are no pattern either.
    return block if torch.equal(block, mask) else None
