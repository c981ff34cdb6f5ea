"""Absorbing constants into a MatMul by a constant, and into the Add that is its bias.

    (x W) * s        =  x (W s)
    (x W + b) * s    =  x (W s) + b s
    (x W + b) + c    =  x W + (b + c)          s, b, c: one number, or one per output

The Add stays apart from the MatMul: quantization keeps the pair together, and every runtime fuses it.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto

from autocompress.graph.rewrite import replace_nodes
from autocompress.graph.walk import is_standard
from autocompress.passes.fold.affine import FLOATS, FloatArray
from autocompress.passes.fold.stored_weights import StoredWeights


def absorb_after_products(model: ModelProto) -> int:
    """Absorbs every Mul, Div, Add and Sub by constants that follows a MatMul, in place.

    Returns:
        How many nodes were removed.
    """
    folding = _ProductFolding(model)
    for node in model.graph.node:
        if node.op_type == "MatMul" and is_standard(node.domain) and node.name not in folding.removed:
            while folding.absorb_next(node):
                pass
    if folding.removed:
        replace_nodes(model, [node for node in model.graph.node if node.name not in folding.removed])
    return len(folding.removed)


class _ProductFolding:
    def __init__(self, model: ModelProto) -> None:
        self._stored = StoredWeights(model)
        self._index = self._stored.index
        self.removed: set[str] = set()

    def absorb_next(self, product: NodeProto) -> bool:
        """Whether the operator after a product, or after its bias, is now part of them."""
        weight = self._index.initializers.get(product.input[1])
        if weight is None or len(weight.dims) != 2 or weight.data_type not in FLOATS or 0 in weight.dims:
            return False
        outputs = int(weight.dims[1])
        following = self._following(product)
        if following is None:
            return False
        if following.op_type in ("Mul", "Div"):
            return self._scale(product, None, following, outputs)
        if following.op_type != "Add" or self._constant(following, product.output[0], outputs) is None:
            return False
        last = self._following(following)
        if last is None:
            return False
        if last.op_type in ("Mul", "Div"):
            return self._scale(product, following, last, outputs)
        return last.op_type in ("Add", "Sub") and self._shift(following, product.output[0], last, outputs)

    def _following(self, node: NodeProto) -> NodeProto | None:
        following = self._index.sole_consumer(node.output[0])
        known = following is not None and is_standard(following.domain) and len(following.input) == 2
        return following if known else None

    def _constant(self, node: NodeProto, operand: str, outputs: int) -> FloatArray | None:
        """The other operand as a vector over outputs, if it is constant and widens nothing."""
        other = node.input[1 if node.input[0] == operand else 0]
        weight = self._index.initializers.get(other)
        if weight is None or weight.data_type not in FLOATS or len(weight.dims) > 1:
            return None
        values = self._stored.values(other)
        if values.size not in (1, outputs):
            return None
        return np.broadcast_to(values.reshape(-1), (outputs,))

    def _scale(self, product: NodeProto, bias: NodeProto | None, scaling: NodeProto, outputs: int) -> bool:
        before = product if bias is None else bias
        constant = self._constant(scaling, before.output[0], outputs)
        if constant is None or (scaling.op_type == "Div" and scaling.input[0] != before.output[0]):
            return False
        with np.errstate(all="ignore"):
            scale = 1.0 / constant if scaling.op_type == "Div" else constant
            changed = [(product, 1, self._stored.values(product.input[1]) * scale)]
            if bias is not None:
                shift = self._constant(bias, product.output[0], outputs)
                assert shift is not None
                changed.append((bias, 1 if bias.input[0] == product.output[0] else 0, shift * scale))
        return self._replace(changed, before, scaling)

    def _shift(self, bias: NodeProto, product: str, shifting: NodeProto, outputs: int) -> bool:
        constant = self._constant(shifting, bias.output[0], outputs)
        own = self._constant(bias, product, outputs)
        if constant is None or own is None or (shifting.op_type == "Sub" and shifting.input[0] != bias.output[0]):
            return False
        total = own - constant if shifting.op_type == "Sub" else own + constant
        return self._replace([(bias, 1 if bias.input[0] == product else 0, total)], bias, shifting)

    def _replace(self, changed: list[tuple[NodeProto, int, FloatArray]], before: NodeProto, removed: NodeProto) -> bool:
        """Stores new constants, and lets ``before`` compute what ``removed`` did."""
        arrays = [self._stored.as_type_of(node.input[position], values) for node, position, values in changed]
        if any(array is None for array in arrays):
            return False
        for (node, position, _), array in zip(changed, arrays, strict=True):
            assert array is not None
            node.input[position] = self._stored.put(self._stored.own_name(node.input[position]), array[0])
        before.output[0] = removed.output[0]
        self.removed.add(removed.name)
        return True
