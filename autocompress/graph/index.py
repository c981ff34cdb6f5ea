"""Who produces and who consumes each tensor of a graph."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper


class GraphIndex:
    """Read-only lookups over one graph; build a new one after the graph changes.

    Attributes:
        graph: the indexed graph.
        producers: tensor name -> node that computes it.
        consumers: tensor name -> nodes that read it, in graph order (a node reading it twice appears once).
        initializers: name -> weight.
        nodes: node name -> node.
        inputs: names of the true graph inputs.
        outputs: names of the graph outputs.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph
        self.initializers = {w.name: w for w in model.graph.initializer}
        self.inputs = frozenset(i.name for i in model.graph.input if i.name not in self.initializers)
        self.outputs = frozenset(o.name for o in model.graph.output)
        self.producers: dict[str, onnx.NodeProto] = {}
        self.consumers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        self.nodes: dict[str, onnx.NodeProto] = {}
        for node in model.graph.node:
            self.nodes[node.name] = node
            for name in node.output:
                if name:
                    self.producers[name] = node
            for name in dict.fromkeys([*node.input, *captured_names(node)]):
                if name:
                    self.consumers[name].append(node)

    def is_constant(self, name: str) -> bool:
        """Whether ``name`` is a weight."""
        return name in self.initializers

    def weight(self, name: str) -> npt.NDArray[np.generic]:
        """The values of a weight (a fresh array)."""
        array: npt.NDArray[np.generic] = numpy_helper.to_array(self.initializers[name])
        return array

    def sole_consumer(self, name: str) -> onnx.NodeProto | None:
        """The only reader of ``name``, or None where there are none or several or it is a graph output."""
        readers = self.consumers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self.outputs else None


def captured_names(node: onnx.NodeProto) -> list[str]:
    """Outer tensors that the subgraphs of a control-flow node may read (an over-approximation by name)."""
    names: list[str] = []
    for attribute in node.attribute:
        graphs = [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else list(attribute.graphs)
        for graph in graphs:
            for inner in graph.node:
                names.extend(inner.input)
                names.extend(captured_names(inner))
            names.extend(o.name for o in graph.output)
    return names


def attribute(node: onnx.NodeProto, name: str, default: object = None) -> object:
    """The value of a node's attribute, or ``default`` where it is not set."""
    for candidate in node.attribute:
        if candidate.name == name:
            return onnx.helper.get_attribute_value(candidate)
    return default
