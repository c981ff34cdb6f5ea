"""Layer after layer, the weights that best give the teacher's outputs from the student's inputs.

Inputs are those that the student computes with the layers ahead already reconstructed, so that each layer also makes up
for the ones before it (as in He et al., "Channel Pruning", arXiv 1707.06168, section 3.1, with the teacher's output as
the target).  The change of the bias alone is bias correction (Nagel et al., arXiv 1906.04721, section 4.2); more is not
done where the maps of the two have different sizes, and nothing at all if that does not bring the outputs nearer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from autocompress.graph.torch_execution.values import as_tensor
from autocompress.passes.recover.config import RecoverConfig
from autocompress.passes.recover.least_squares import NormalEquations
from autocompress.passes.recover.linear_layer import LinearLayer, linear_layers
from autocompress.passes.recover.mean_shift import maps_differ, shift_means
from autocompress.passes.recover.output_check import OutputCheck
from autocompress.passes.recover.pair import Pair
from autocompress.passes.recover.samples import Samples
from autocompress.passes.recover.statistics import correct_batch_norms
from autocompress.passes.recover.twins import channels_of
from autocompress.passes.recover.walk import Walk, most_held_bytes
from autocompress.progress import Progress

_MOST_UNITS, _FEWEST_UNITS = 288, 32  # to fit on
_FITTED = 3  # times as many units as judge
_LIVE_BYTES = 384 * 2**20  # of the tensors of all units that are kept from one layer to the next
_FEWEST_POSITIONS, _MOST_POSITIONS = 16, 256  # of a map or sequence, per sample
_ROWS_PER_INPUT = 64  # of a layer: more rows of the same samples hardly tell more
_NEXT_SEED = 7919  # from one batch to the next, so that each gives other positions
_UNITS_AT_ONCE, _BYTES_AT_ONCE = 16, 24 * 2**20  # in a batch; what a layer computes is larger than what is kept
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
    layers = [layer for layer in linear_layers(pair.models[0], pair.student) if layer.node.output[0] in pair.twins]

    def walks(chunks: Sequence[Mapping[str, Any]]) -> list[Walk]:
        return [
            Walk(pair.student, chunks, [layer.node.input[0] for layer in layers]),
            Walk(pair.teacher, chunks, [layer.node.output[0] for layer in layers]),
        ]

    each = _bytes_per_unit(samples, walks, len(layers))
    fitting, chunks = _chosen(samples, config, each)
    correct_batch_norms(pair, chunks[:fitting])
    own, wanted = walks(chunks)
    del chunks  # the walks let go of inputs that are read
    check: OutputCheck | None = None
    changed: list[str] = []
    for position, layer in enumerate(layers):
        inputs, targets = own.advance(), wanted.advance()
        if maps_differ(pair, layer, inputs[0], targets[0]):
            check = check or OutputCheck(pair, config, changed)
            done = shift_means(pair, layer, inputs, targets, fitting)
        else:
            equations = _gather(pair, layer, inputs, targets, (fitting, config.seed + position))
            done = _reconstruct(pair, layer, equations, config.ridge)
        del inputs, targets  # before the next ones are computed
        if done:
            changed.append(layer.node.name)
        progress.detail(f"layer {position + 1} of {len(layers)}")
    return changed if check is None else check.kept(changed, samples, progress)


def _bytes_per_unit(samples: Samples, walks: Callable[[Sequence[Mapping[str, Any]]], list[Walk]], stops: int) -> int:
    """What the tensors of one unit take that are kept from one layer to the next."""
    one = samples.take(np.zeros(1, np.int64))[0].feeds
    return max(1, int(most_held_bytes(walks([one]), stops)))


def _chosen(samples: Samples, config: RecoverConfig, each: int) -> tuple[int, list[dict[str, torch.Tensor]]]:
    """As many units as memory holds, in batches, and how many of the batches are to fit; the others judge.

    Args:
        samples: to choose from.
        config: ``held_out`` and ``seed`` count.
        each: bytes per unit.
    """
    fitted = min(_MOST_UNITS, max(_FEWEST_UNITS, _LIVE_BYTES // each * _FITTED // (_FITTED + 1)))
    at_once = min(_UNITS_AT_ONCE, max(1, _BYTES_AT_ONCE // each))
    parts = samples.split(max(config.held_out, 0.25), config.seed)
    chunks = [
        [
            {name: as_tensor(array, torch.float32) for name, array in batch.feeds.items()}
            for batch in samples.in_order(positions[:count], at_once)
        ]
        for positions, count in zip(parts, (fitted, max(1, fitted // _FITTED)), strict=True)
    ]
    return len(chunks[0]), [*chunks[0], *chunks[1]]


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
