"""Changes stored operands of nodes, one reading at a time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, numpy_helper

from autocompress.graph.index import GraphIndex
from autocompress.graph.rewrite import drop_dead, free_name, tensor_names

Array = npt.NDArray[np.generic]


class OperandEditor:
    """Collects new values of stored operands and writes them into a model.

    Args:
        model: changed in place by ``write``.
    """

    def __init__(self, model: ModelProto) -> None:
        self._model = model
        self.index = GraphIndex(model)
        self._values: dict[tuple[str, int], Array] = {}

    def values(self, node: str, position: int) -> Array:
        """An operand as changed so far, a fresh array unless changed."""
        if (node, position) in self._values:
            return self._values[node, position]
        return self.index.weight(self.index.nodes[node].input[position])

    def set(self, node: str, position: int, values: Array) -> None:
        """Gives an operand new values; it may be one that the node did not have."""
        self._values[node, position] = values

    def set_number(self, node: str, position: int, place: int, number: int) -> None:
        """Changes one number of an integer operand."""
        values = self.values(node, position).copy()
        values.reshape(-1)[place] = number
        self.set(node, position, values)

    def write(self) -> None:
        """Stores the new values; a tensor that others read unchanged is copied, every other one keeps its name."""
        names = tensor_names(self._model)
        new: dict[tuple[str, bytes, tuple[int, ...]], str] = {}
        for (node, position), values in self._values.items():
            operands = self.index.nodes[node].input
            while len(operands) <= position:
                operands.append("")
            old = operands[position]
            key = (old, values.tobytes(), values.shape)
            if key not in new:
                own = bool(old) and self._is_everywhere(old, values)
                new[key] = old if own else free_name(f"{old or node}_prune_copy", names)
                names.add(new[key])
                tensor = numpy_helper.from_array(values, new[key])
                if own:
                    self.index.initializers[old].CopyFrom(tensor)
                else:
                    self._model.graph.initializer.append(tensor)
            operands[position] = new[key]
        drop_dead(self._model)

    def _is_everywhere(self, name: str, values: Array) -> bool:
        """Whether every reader of a tensor gets these same new values."""
        if name in self.index.outputs:
            return False
        for reader in self.index.consumers[name]:
            places = [i for i, operand in enumerate(reader.input) if operand == name]
            new = [self._values.get((reader.name, i)) for i in places]
            if not places or any(own is None or not np.array_equal(own, values) for own in new):
                return False
        return True
