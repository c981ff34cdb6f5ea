"""Which stored integers of a graph are quantized weights, and on which grids."""

from __future__ import annotations

from dataclasses import dataclass

from autocompress.graph.index import GraphIndex, attribute
from autocompress.graph.tensors import dtype_name
from autocompress.graph.torch_execution.call import Tensor
from autocompress.graph.torch_execution.quantization import GRIDS, dequantize_values, to_grid


@dataclass(frozen=True)
class Grid:
    """How the weight that one DequantizeLinear reads is quantized.

    Attributes:
        dtype: "int8" and so on.
        scale: name of the step sizes.
        zero_point: name of the zero points, or "".
        axis: where channels or blocks lie.
        block: elements per block, 0 where there are none.
    """

    dtype: str
    scale: str
    zero_point: str
    axis: int
    block: int

    def round(self, real: Tensor, scale: Tensor, zero_point: Tensor | None) -> Tensor:
        """Whole numbers for real values, with gradients to both the values and the step sizes."""
        return to_grid(real, scale, zero_point, self.dtype, self.axis, self.block)

    def real(self, whole: Tensor, scale: Tensor, zero_point: Tensor | None) -> Tensor:
        """The real values that whole numbers stand for."""
        return dequantize_values(whole, scale, zero_point, self.axis, self.block)


def weight_grids(index: GraphIndex) -> dict[str, Grid]:
    """Weight name -> its grid, for stored integers that one DequantizeLinear, and nothing else, reads."""
    grids: dict[str, Grid] = {}
    for name, tensor in index.initializers.items():
        node = index.sole_consumer(name)
        if node is None or node.op_type != "DequantizeLinear" or node.input[0] != name:
            continue
        parameters = [given for given in node.input[1:] if given]
        if dtype_name(tensor.data_type) in GRIDS and all(given in index.initializers for given in parameters):
            grids[name] = Grid(
                dtype_name(tensor.data_type),
                node.input[1],
                node.input[2] if len(node.input) > 2 else "",
                int(attribute(node, "axis", 1)),  # type: ignore[call-overload]
                int(attribute(node, "block_size", 0)),  # type: ignore[call-overload]
            )
    return grids
