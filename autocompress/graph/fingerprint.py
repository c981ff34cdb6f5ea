"""The identity of a model: the same for the same computation, however it is stored."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto, ValueInfoProto

from autocompress.graph.specs import dimension
from autocompress.graph.tensors import raw_bytes
from autocompress.graph.walk import is_standard


def fingerprint(model: ModelProto) -> str:
    """SHA-256 of a model's canonical form, as 64 hex digits.

    The canonical form is the graph's structure with its names, attributes, weights' bytes, local functions and
    operator set versions.  Not part of it: doc strings, producer, metadata, IR version, intermediate shape
    annotations, the order of weights and attributes, and how weights are stored (typed fields or raw).  External
    data must have been loaded.
    """
    opsets = {("" if is_standard(o.domain) else o.domain): int(o.version) for o in model.opset_import}
    form = {
        "opsets": sorted(opsets.items()),
        "graph": _graph(model.graph),
        "functions": [
            [f.domain, f.name, f.overload, list(f.input), list(f.output), [_node(n) for n in f.node]]
            for f in sorted(model.functions, key=lambda f: (f.domain, f.name, f.overload))
        ],
    }
    return hashlib.sha256(json.dumps(form, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _graph(graph: GraphProto) -> dict[str, Any]:
    return {
        "inputs": [_value(v) for v in graph.input],
        "outputs": [_value(v) for v in graph.output],
        "nodes": [_node(n) for n in graph.node],
        "weights": sorted(_tensor(w) for w in graph.initializer),
        "sparse": sorted(_sparse(s) for s in graph.sparse_initializer),
    }


def _value(value: ValueInfoProto) -> list[Any]:
    tensor = value.type.tensor_type
    return [value.name, tensor.elem_type, [dimension(dim) for dim in tensor.shape.dim]]


def _node(node: NodeProto) -> list[Any]:
    domain = "" if is_standard(node.domain) else node.domain
    attributes = sorted(([a.name, *_attribute(a)] for a in node.attribute), key=lambda row: str(row[0]))
    return [node.name, domain, node.op_type, node.overload, list(node.input), list(node.output), attributes]


def _attribute(attribute: AttributeProto) -> list[Any]:
    kind = attribute.type
    by_kind: dict[int, Any] = {
        AttributeProto.FLOAT: lambda a: a.f,
        AttributeProto.INT: lambda a: a.i,
        AttributeProto.STRING: lambda a: a.s.hex(),
        AttributeProto.TENSOR: lambda a: _tensor(a.t),
        AttributeProto.GRAPH: lambda a: _graph(a.g),
        AttributeProto.SPARSE_TENSOR: lambda a: _sparse(a.sparse_tensor),
        AttributeProto.FLOATS: lambda a: list(a.floats),
        AttributeProto.INTS: lambda a: list(a.ints),
        AttributeProto.STRINGS: lambda a: [s.hex() for s in a.strings],
        AttributeProto.TENSORS: lambda a: [_tensor(t) for t in a.tensors],
        AttributeProto.GRAPHS: lambda a: [_graph(g) for g in a.graphs],
    }
    if kind in by_kind:
        return [int(kind), by_kind[kind](attribute), attribute.ref_attr_name]
    return [int(kind), attribute.SerializeToString(deterministic=True).hex(), attribute.ref_attr_name]


def _tensor(tensor: TensorProto) -> list[Any]:
    return [tensor.name, tensor.data_type, list(tensor.dims), hashlib.sha256(raw_bytes(tensor)).hexdigest()]


def _sparse(sparse: SparseTensorProto) -> list[Any]:
    return [*_tensor(sparse.values), *_tensor(sparse.indices), list(sparse.dims)]
