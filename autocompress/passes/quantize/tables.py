"""Tables of which a Gather picks rows (embeddings), stored in 8 bits.

    Gather(table, ids)  ->  DequantizeLinear(Gather(integers, ids), scales of the columns)

Rows are picked as integers and only those that were picked become float, so the table is never there in float: not in
the file and not in memory.  Each column has a scale of its own, because some columns of embeddings are far larger than
the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx

from autocompress.graph.index import GraphIndex, attribute

if TYPE_CHECKING:
    from autocompress.passes.quantize.weights import QuantizedWeight
    from autocompress.passes.quantize.writer import GraphWriter

_LEAST_ELEMENTS = 16384
"""What is smaller saves less than its Dequantize costs."""


def is_table_lookup(node: onnx.NodeProto, index: GraphIndex) -> bool:
    """Whether a node picks rows of a large constant float matrix that only such nodes read."""
    if not _picks_rows(node, index):
        return False
    table = index.initializers[node.input[0]]
    readers = index.consumers.get(table.name, [])
    large = len(table.dims) == 2 and int(np.prod(table.dims)) >= _LEAST_ELEMENTS
    # Who computes with the matrix as well needs it in float: two forms of it would take more, not less.
    return large and table.name not in index.outputs and all(_picks_rows(reader, index) for reader in readers)


def _picks_rows(node: onnx.NodeProto, index: GraphIndex) -> bool:
    if node.domain or node.op_type != "Gather" or attribute(node, "axis", 0) != 0:
        return False
    table, ids = node.input
    return (
        index.is_constant(table)
        and not index.is_constant(ids)
        and index.initializers[table].data_type == onnx.TensorProto.FLOAT
    )


def write_lookup(writer: GraphWriter, node: onnx.NodeProto, ids: str, weight: QuantizedWeight) -> None:
    """Appends a Gather of integers and the Dequantize behind it.

    Args:
        writer: of the new graph.
        node: the Gather of the float model.
        ids: what its indices are called now.
        weight: the integers, with one scale per column or one for all.
    """
    rows = writer.name(node.name, "rows_quantized")
    parameters = [
        writer.constant(node.name, "table_scale", weight.scales),
        writer.constant(node.name, "table_zero_point", weight.zero_points),
    ]
    integers = writer.constant(node.name, "table_quantized", weight.values)
    writer.node("Gather", [integers, ids], [rows], node.name, axis=0)
    name = writer.name(node.name, "rows_dequantize")
    # Whatever the number of dimensions of the ids, columns come last.
    attributes = {} if weight.axis is None else {"axis": -1}
    writer.node("DequantizeLinear", [rows, *parameters], [node.output[0]], name, **attributes)
