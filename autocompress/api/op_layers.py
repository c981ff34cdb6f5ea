"""Which layer each executed operator computes.

A fused operator often keeps only the name of the last node that it swallowed (the Relu behind a convolution, the
residual Add).  So an operator with a weight that matches no layer by name belongs to the nearest layer before that
node, one that no other operator is known to compute first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import onnx

from autocompress.graph.index import GraphIndex
from autocompress.report.structure import LayerFacts
from autocompress.runtimes.protocol import ExecutedOp
from autocompress.search.attribution import is_boundary

_MOST_SWALLOWED = 8  # nodes between a kernel's last name and its weight; no runtime fuses more


def layers_of_ops(
    ops: Sequence[ExecutedOp], model: onnx.ModelProto, layers: Sequence[LayerFacts]
) -> list[LayerFacts | None]:
    """The layer of each operator; None for those without one.

    Args:
        ops: in execution order.
        model: normalized, that was executed.
        layers: of that model.
    """
    known = {name: layer for layer in layers for name in (layer.weight, layer.result, layer.name)}
    found = [None if is_boundary(op) else _named(op, known) for op in ops]
    claimed = {layer.name for layer in found if layer is not None}
    index = GraphIndex(model)
    for position, op in enumerate(ops):
        if found[position] is not None or is_boundary(op) or not _has_weight(op):
            continue
        before = [layer for source in op.sources for layer in _before(source, index, known)]
        free = next((layer for layer in before if layer.name not in claimed), None)
        if free is not None:
            claimed.add(free.name)
            found[position] = free
    return found


def _named(op: ExecutedOp, known: dict[str, LayerFacts]) -> LayerFacts | None:
    return next((known[source] for source in op.sources if source in known), None)


def _has_weight(op: ExecutedOp) -> bool:
    return any(t is not None and t.constant and len(t.shape) > 1 for t in op.signature.inputs)


def _before(source: str, index: GraphIndex, known: dict[str, LayerFacts]) -> Iterator[LayerFacts]:
    """Layers before a node or tensor, the nearest first; not those behind other layers."""
    node = index.nodes.get(source) or index.producers.get(source)
    waiting = deque([(node, 0)])
    while waiting:
        node, depth = waiting.popleft()
        if node is None or depth > _MOST_SWALLOWED:
            continue
        layer = next((known[name] for name in node.output if name in known), None)
        if layer is not None:
            yield layer
            continue
        waiting.extend((index.producers.get(name), depth + 1) for name in node.input)


def known_name(op: ExecutedOp, layer: LayerFacts | None) -> str:
    """The name of an executed operator that whoever made the model knows: that of its layer, or of what it was."""
    return layer.name if layer is not None else next(iter(op.sources), op.name)
