"""Matrix products whose weights have 4 bits, with one scale for each block of rows.

Two forms: ONNX Runtime's own operator, MatMulNBits, and a DequantizeLinear with a block size before a MatMul, which
is portable from operator set 21 on.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from autocompress.latency.zoo.variant import Variant

_PORTABLE_OPSET, _PORTABLE_IR = 21, 10
_DOMAIN = "com.microsoft"
_SCALE = 0.02
_MIDDLE = 8  # the zero point of unsigned values that are symmetric
# Reductions that got their axes as an operand between the networks' operator set and the portable one.
_WITH_AXES = frozenset({"ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceProd"})


def with_small_weights(model: ModelProto, variant: Variant) -> ModelProto:
    """The model with every constant matrix of a MatMul in 4 bits.

    In the portable form, which has no partial blocks, a matrix whose rows are no multiple of the block size stays in
    float.

    Args:
        model: in float.
        variant: block size, accuracy level and form.
    """
    rng = np.random.default_rng(variant.seed)
    constants = {w.name: w for w in model.graph.initializer}
    nodes: list[NodeProto] = []
    weights: list[TensorProto] = []
    for node in model.graph.node:
        matrix = constants.get(node.input[1]) if node.op_type == "MatMul" else None
        partial = variant.portable and matrix is not None and matrix.dims[0] % variant.block_size
        if matrix is None or len(matrix.dims) != 2 or partial:
            nodes.extend(_at_portable_opset(node, weights) if variant.portable else [node])
            continue
        write = _dequantized_product if variant.portable else _product_of_bits
        nodes.extend(write(node, (matrix.dims[0], matrix.dims[1]), variant, rng, weights))
    read = {name for node in nodes for name in node.input}
    weights = [w for w in (*model.graph.initializer, *weights) if w.name in read]
    graph = model.graph
    made = helper.make_graph(nodes, graph.name, list(graph.input), list(graph.output), weights)
    if variant.portable:
        return helper.make_model(
            made, opset_imports=[helper.make_opsetid("", _PORTABLE_OPSET)], ir_version=_PORTABLE_IR
        )
    opsets = [*model.opset_import, helper.make_opsetid(_DOMAIN, 1)]
    return helper.make_model(made, opset_imports=opsets, ir_version=model.ir_version)


def _product_of_bits(
    node: NodeProto, shape: tuple[int, int], variant: Variant, rng: np.random.Generator, weights: list[TensorProto]
) -> list[NodeProto]:
    """MatMulNBits: weights of shape (columns, blocks, bytes of a block), scales of shape (columns, blocks)."""
    rows, columns = shape
    blocks = -(-rows // variant.block_size)
    stored: list[npt.NDArray[np.generic]] = [
        rng.integers(0, 256, (columns, blocks, variant.block_size // 2)).astype(np.uint8),
        np.full((columns, blocks), _SCALE, np.float32),
    ]
    if variant.zero_points:
        stored.append(np.full((columns, -(-blocks // 2)), _MIDDLE * 17, np.uint8))
    names = [f"{node.name}_bits{i}" for i in range(len(stored))]
    weights.extend(numpy_helper.from_array(v, name) for v, name in zip(stored, names, strict=True))
    sizes = {"K": rows, "N": columns, "bits": 4, "block_size": variant.block_size}
    return [
        helper.make_node(
            "MatMulNBits",
            [node.input[0], *names],
            list(node.output),
            name=node.name,
            domain=_DOMAIN,
            accuracy_level=variant.accuracy_level,
            **sizes,
        )
    ]


def _dequantized_product(
    node: NodeProto, shape: tuple[int, int], variant: Variant, rng: np.random.Generator, weights: list[TensorProto]
) -> list[NodeProto]:
    """DequantizeLinear by blocks of rows, then MatMul."""
    element = TensorProto.UINT4 if variant.zero_points else TensorProto.INT4
    of_blocks = (shape[0] // variant.block_size, shape[1])
    packed = rng.integers(0, 256, shape[0] * shape[1] // 2).astype(np.uint8).tobytes()
    names = [f"{node.name}_values", f"{node.name}_scales"]
    weights.append(helper.make_tensor(names[0], element, shape, packed, raw=True))
    weights.append(numpy_helper.from_array(np.full(of_blocks, _SCALE, np.float32), names[1]))
    if variant.zero_points:
        names.append(f"{node.name}_zeros")
        middles = bytes([_MIDDLE * 17]) * -(-of_blocks[0] * of_blocks[1] // 2)
        weights.append(helper.make_tensor(names[2], element, of_blocks, middles, raw=True))
    result = f"{node.name}_dequantized"
    dequantize = helper.make_node(
        "DequantizeLinear", names, [result], name=f"{node.name}_dequantize", axis=0, block_size=variant.block_size
    )
    product = helper.make_node("MatMul", [node.input[0], result], list(node.output), name=node.name)
    return [dequantize, product]


def _at_portable_opset(node: NodeProto, weights: list[TensorProto]) -> list[NodeProto]:
    if node.op_type not in _WITH_AXES:
        return [node]
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    del copy.attribute[:]
    copy.attribute.extend(a for a in node.attribute if a.name != "axes")
    axes = next(a for a in node.attribute if a.name == "axes")
    weights.append(numpy_helper.from_array(np.asarray(axes.ints, np.int64), f"{node.name}_axes"))
    copy.input.append(f"{node.name}_axes")
    return [copy]
