"""Bias vectors behind products that are to write float.

Runtimes merge MatMul and the Add of a vector into a float Gemm before they look at precisions.  A constant with as many
dimensions as the result means the same and is left alone:

    MatMul(x, W) + b[N]  =  MatMul(x, W) + b[1, 1, N]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autocompress.graph.index import GraphIndex
from autocompress.passes.quantize.units import Unit

_MERGED_RANK = 2  # a matrix is merged with a bias of any shape


def liftable_biases(
    index: GraphIndex, units: Sequence[Unit], shapes: Mapping[str, Sequence[Any]]
) -> dict[str, tuple[str, int]]:
    """The Add nodes that a higher-dimensional constant keeps apart from the product before them.

    Args:
        index: the graph.
        units: its units.
        shapes: of its tensors, as far as known; only the number of dimensions counts.

    Returns:
        Name of the Add -> (unit of the product, number of dimensions that its constant must have).
    """
    found: dict[str, tuple[str, int]] = {}
    for unit in units:
        rank = len(shapes.get(unit.output, ()))
        if unit.op_type != "MatMul" or unit.weight is None or rank <= _MERGED_RANK:
            continue
        for reader in index.consumers.get(unit.output, []):
            constants = [name for name in reader.input if index.is_constant(name)]
            plain = not reader.domain and reader.op_type == "Add" and len(constants) == 1
            if plain and len(index.initializers[constants[0]].dims) <= rank:
                found[reader.name] = (unit.name, rank)
    return found
