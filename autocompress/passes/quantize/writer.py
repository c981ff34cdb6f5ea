"""Collects the nodes and initializers of a new graph under names that clash with nothing in the given one."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from autocompress.graph.rewrite import free_name


class GraphWriter:
    """Nodes and initializers of the new graph, in order.

    Attributes:
        nodes: what was written so far.
        initializers: the weights that were added, in the order in which they were first used.
        four_bits: weights that are to be stored two per byte -> "cast" or "direct" (see ``storage.pack_four_bits``).
        domains: operator sets in use besides the standard one.
        recent: whether the nodes are of operator set 21.
    """

    def __init__(self, taken: Iterable[str]) -> None:
        """Starts an empty graph.

        Args:
            taken: names of tensors and nodes that exist already.
        """
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.four_bits: dict[str, str] = {}
        self.domains: set[str] = set()
        self.recent = False
        self._taken = set(taken)
        self._names: dict[tuple[str, str], str] = {}
        # The arrays are kept so that no other array can take over their identity.
        self._constants: dict[int, tuple[npt.NDArray[np.generic], str]] = {}

    def name(self, owner: str, part: str) -> str:
        """``owner_part``, always the same for the same owner and part, and never a name that means something else."""
        key = (owner, part)
        if key not in self._names:
            self._names[key] = free_name(f"{owner}_{part}", self._taken)
            self._taken.add(self._names[key])
        return self._names[key]

    def node(self, op_type: str, inputs: list[str], outputs: list[str], name: str, **attributes: object) -> None:
        """Appends one node."""
        self.nodes.append(helper.make_node(op_type, inputs, outputs, name=name, **attributes))

    def constant(self, owner: str, part: str, values: npt.NDArray[np.generic]) -> str:
        """Adds a weight and returns its name; the same array object is stored once, under its first name."""
        known = self._constants.get(id(values))
        if known is not None:
            return known[1]
        name = self.name(owner, part)
        self._constants[id(values)] = (values, name)
        self.initializers.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name
