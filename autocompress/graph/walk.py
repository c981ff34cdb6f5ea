"""Ways to visit every graph, node, tensor and name of a model, control-flow subgraphs and functions included."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

STANDARD_DOMAINS = ("", "ai.onnx")


def is_standard(domain: str) -> bool:
    """Whether a domain name means the ONNX standard operators."""
    return domain in STANDARD_DOMAINS


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """The bodies of a control-flow node, in attribute order."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == AttributeProto.GRAPHS:
            yield from attribute.graphs


def all_graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """``graph`` and every graph nested in it, outermost first."""
    yield graph
    for node in graph.node:
        for body in subgraphs(node):
            yield from all_graphs(body)


def nodes_within(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """The given nodes and those of their bodies, each before its body."""
    for node in nodes:
        yield node
        for body in subgraphs(node):
            yield from nodes_within(body.node)


def all_nodes(model: ModelProto) -> Iterator[NodeProto]:
    """Every node of a model: main graph, control-flow bodies, local functions."""
    yield from nodes_within(model.graph.node)
    for function in model.functions:
        yield from nodes_within(function.node)


def all_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every stored tensor of a model: initializers, sparse initializers and tensor attributes."""
    for graph in all_graphs(model.graph):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield sparse.values
            yield sparse.indices
    for node in all_nodes(model):
        yield from attribute_tensors(node)


def attribute_tensors(node: NodeProto) -> Iterator[TensorProto]:
    """The tensors held by a node's own attributes (bodies excluded)."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.TENSOR:
            yield attribute.t
        elif attribute.type == AttributeProto.TENSORS:
            yield from attribute.tensors
        elif attribute.type == AttributeProto.SPARSE_TENSOR:
            yield attribute.sparse_tensor.values
            yield attribute.sparse_tensor.indices


def names_read(node: NodeProto) -> set[str]:
    """Every tensor name a node may read: its inputs and, by name, whatever its bodies mention."""
    names = {name for name in node.input if name}
    for body in subgraphs(node):
        names.update(output.name for output in body.output)
        for inner in body.node:
            names |= names_read(inner)
    return names


def rename_reads(nodes: Iterable[NodeProto], renamed: dict[str, str]) -> None:
    """Makes nodes, and their bodies, read other tensors.

    ONNX forbids shadowing, so a name inside a body means the same tensor as outside.

    Args:
        nodes: changed in place.
        renamed: old tensor name -> new tensor name.
    """
    for node in nodes:
        for position, name in enumerate(node.input):
            if name in renamed:
                node.input[position] = renamed[name]
        for body in subgraphs(node):
            for output in body.output:
                if output.name in renamed:
                    output.name = renamed[output.name]
            rename_reads(body.node, renamed)


def opset_of(model: ModelProto) -> int:
    """Version of the standard operator set that a model imports; 0 where it imports none."""
    versions = [int(opset.version) for opset in model.opset_import if is_standard(opset.domain)]
    return max(versions, default=0)


def node_label(node: NodeProto) -> str:
    """How an error message calls a node: its name, else the tensor it computes."""
    if node.name:
        return f"'{node.name}'"
    outputs = [name for name in node.output if name]
    return f"computing '{outputs[0]}'" if outputs else "without a name"


def set_opset(model: ModelProto, version: int) -> None:
    """Makes a model import exactly one version of the standard operator set, listed first."""
    others = [opset for opset in model.opset_import if not is_standard(opset.domain)]
    kept = [onnx.helper.make_opsetid("", version), *others]
    del model.opset_import[:]
    model.opset_import.extend(kept)
