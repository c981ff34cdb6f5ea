"""Transposes move down past what works on each element alone, and meet others there.

    transpose, f, transpose  =  f, transpose by the composed permutation        f element-wise

Two that undo each other are then gone.
"""

from __future__ import annotations

from onnx import ModelProto, NodeProto, helper

from autocompress.graph.index import GraphIndex, attribute
from autocompress.graph.walk import is_standard

_UNARY = frozenset(
    {"Relu", "LeakyRelu", "Sigmoid", "Tanh", "Erf", "Sqrt", "Exp", "Log", "Neg", "Abs", "Floor", "Ceil", "Round"}
    | {"HardSwish", "HardSigmoid", "Elu", "Selu", "Gelu", "Mish", "Softplus", "Softsign", "Cast", "Reciprocal"}
)
_WITH_SCALARS = frozenset({"Clip", "Add", "Sub", "Mul", "Div", "Pow", "QuantizeLinear", "DequantizeLinear"})
_PER_AXIS = frozenset({"QuantizeLinear", "DequantizeLinear"})  # one scale in a list belongs to an axis


def join_transposes(model: ModelProto) -> int:
    """Joins Transposes with element-wise operators between them, in place.

    Tensors between the two keep their names, with the axes that they have now.

    Returns:
        How many pairs were joined.
    """
    index = GraphIndex(model)
    changed = 0
    touched: set[str] = set()
    for node in model.graph.node:
        if node.op_type != "Transpose" or not is_standard(node.domain):
            continue
        chain = _elementwise_before(node, index)
        if not chain or touched & {link.name for link in chain}:
            continue
        first = index.producers.get(chain[0].input[0])
        if first is None or first.op_type != "Transpose" or not is_standard(first.domain):
            continue
        composed = _composed(first, node)
        if composed is None:
            continue
        # With other readers the first Transpose stays: worth it only if the second goes.
        if composed != sorted(composed) and index.sole_consumer(first.output[0]) is None:
            continue
        chain[0].input[0] = first.input[0]
        del node.attribute[:]
        node.attribute.append(helper.make_attribute("perm", composed))
        touched |= {first.name, node.name, *(link.name for link in chain)}
        changed += 1
    return changed


def _elementwise_before(node: NodeProto, index: GraphIndex) -> list[NodeProto]:
    """Element-wise operators that lead to a node and to nothing else, in order."""
    chain: list[NodeProto] = []
    current = index.producers.get(node.input[0])
    while (
        current is not None and _is_elementwise(current, index) and index.sole_consumer(current.output[0]) is not None
    ):
        chain.insert(0, current)
        current = index.producers.get(current.input[0])
    return chain


def _is_elementwise(node: NodeProto, index: GraphIndex) -> bool:
    if not is_standard(node.domain) or len(node.output) != 1:
        return False
    if node.op_type in _UNARY:
        return True
    if node.op_type not in _WITH_SCALARS or index.is_constant(node.input[0]):
        return False
    shapes: list[list[int]] = [[]] if node.op_type in _PER_AXIS else [[], [1]]
    return all(not name or _has_shape(name, shapes, index) for name in node.input[1:])


def _has_shape(name: str, shapes: list[list[int]], index: GraphIndex) -> bool:
    weight = index.initializers.get(name)
    return weight is not None and list(weight.dims) in shapes


def _composed(first: NodeProto, second: NodeProto) -> list[int] | None:
    inner, outer = attribute(first, "perm"), attribute(second, "perm")
    if not isinstance(inner, list) or not isinstance(outer, list) or len(inner) != len(outer):
        return None
    return [int(inner[axis]) for axis in outer]
