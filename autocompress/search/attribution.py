"""Which unit each executed operator stands for.

A runtime fuses, renames and reorders; what survives is a name of a node or tensor of the given model
(``ExecutedOp.sources``).  A weighted kernel whose only surviving name is that of the weightless unit it swallowed
(Conv with a fused residual Add) is given to the weighted unit that feeds it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from autocompress.passes.quantize.units import Unit
from autocompress.runtimes.protocol import ExecutedOp

BOUNDARY_OPS = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "Transpose", "ReorderInput", "ReorderOutput", "Reorder", "Convert"}
)
_DERIVED = ("_quantized", "_dequantized", "_quantize", "_dequantize", "_raw", "_matmul_integer", "_integer", "_cast",
            "_rescale", "_scales", "_product", "_add_bias", "_dynamic_quantize", "_pad", "_padded")  # fmt: skip
_WEIGHTED_KERNELS = ("Conv", "Gemm", "MatMul")


def attribute_ops(ops: Sequence[ExecutedOp], units: Sequence[Unit]) -> list[int | None]:
    """Position of the unit of each executed operator; None for boundary and float operators.

    Args:
        ops: the executed graph.
        units: the units of the model that was executed.
    """
    by_name = _names(units)
    found = [_unit_of(op, by_name) for op in ops]
    _return_fused_kernels(ops, units, found)
    return found


def is_boundary(op: ExecutedOp) -> bool:
    """Whether an operator only converts between precisions or layouts."""
    return op.signature.op_type in BOUNDARY_OPS


def _names(units: Sequence[Unit]) -> dict[str, int]:
    """Name of a node, result or weight -> position of its unit; a weight that several units share tells nothing."""
    weights = [(name, i) for i, unit in enumerate(units) for name in (unit.weight, unit.bias) if name is not None]
    uses = Counter(name for name, _ in weights)
    names = {name: i for name, i in weights if uses[name] == 1}
    for i, unit in reversed(list(enumerate(units))):
        names.update(dict.fromkeys((*unit.nodes, unit.output), i))
    return names


def _unit_of(op: ExecutedOp, by_name: dict[str, int]) -> int | None:
    if is_boundary(op):
        return None
    for source in op.sources:
        for name in _stems(source):
            if name in by_name:
                return by_name[name]
    return None


def _stems(name: str) -> list[str]:
    return [name, *(name.removesuffix(suffix) for suffix in _DERIVED if name.endswith(suffix))]


def _return_fused_kernels(ops: Sequence[ExecutedOp], units: Sequence[Unit], found: list[int | None]) -> None:
    taken = {i for op, i in zip(ops, found, strict=True) if i is not None and units[i].weight is not None}
    producer = {unit.output: i for i, unit in enumerate(units)}
    for position, (op, i) in enumerate(zip(ops, found, strict=True)):
        if i is None or units[i].weight is not None:
            continue
        if not any(kernel in op.signature.op_type for kernel in _WEIGHTED_KERNELS) or units[i].op_type == "MatMul":
            continue
        feeding = [producer[name] for name in units[i].inputs if name in producer]
        free = [j for j in feeding if units[j].weight is not None and j not in taken]
        if free:
            found[position] = max(free)
            taken.add(max(free))
