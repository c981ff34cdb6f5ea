"""A given ONNX model with marked nodes, so that what OpenVINO made of each can be told from its names.

OpenVINO derives the names of what it executes from those of the given nodes, separates them by commas, and makes up
names of its own ("Multiply_4237") that may equal a given one.  So each node is renamed to a mark before it is loaded.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import onnx
from onnx import ModelProto, NodeProto, TensorProto

from autocompress.graph.walk import is_standard, names_read
from autocompress.runtimes.failure import runtime_failure
from autocompress.runtimes.openvino_session import NAME, called

_MARK = re.compile(r"given~(\d+)~")
_LARGE_BYTES = 1 << 30  # above it weights are written beside the graph, since protobuf ends at 2 GB
# Operators whose results are known once the input shapes are: what they feed is computed when the model is compiled.
_SHAPE_OPS = frozenset({"Constant", "Shape", "Size"})


@dataclass(frozen=True)
class GivenModel:
    """The nodes of a model as given, and the model as it is loaded.

    Attributes:
        loadable: serialized model, or the path of one, with marked nodes.
        nodes: the nodes, in graph order (their ``name`` is the mark).
        names: what each node is called: its name as given, or its first result where it has none.
        constants: weights by name.
        results: name of a graph output -> position of the node that produces it.
        precomputed: positions of the nodes that are computed when the model is compiled.
    """

    loadable: bytes | str
    nodes: Sequence[NodeProto]
    names: Sequence[str]
    constants: Mapping[str, TensorProto]
    results: Mapping[str, int]
    precomputed: frozenset[int]

    @cached_property
    def makers(self) -> dict[str, NodeProto]:
        """The node that produces each tensor."""
        return {name: node for node in self.nodes for name in node.output if name}

    def named_in(self, derived: str) -> int | None:
        """Position of the node that a name of OpenVINO's is derived from; None for names that it made up."""
        found = _MARK.search(derived)
        if found:
            return int(found.group(1))
        # What computes a graph output is called after that output.
        for name in (derived, derived.removesuffix("_original"), derived.rpartition("/")[0]):
            if name in self.results:
                return self.results[name]
        return None


@contextmanager
def given_model(model: bytes | str) -> Iterator[GivenModel]:
    """Marks the nodes of a model; what is written for it is gone at the end.

    Raises:
        RuntimeFailure: when the model cannot be read.
    """
    try:
        proto = ModelProto.FromString(model) if isinstance(model, bytes) else onnx.load(model)
    except Exception as error:  # protobuf and the file system raise different kinds
        raise runtime_failure(NAME, f"could not load {called(model)}", error) from error
    nodes = proto.graph.node
    names = [node.name or next((o for o in node.output if o), node.op_type) for node in nodes]
    for position, node in enumerate(nodes):
        node.name = f"given~{position}~"
    outputs = {value.name for value in proto.graph.output}
    results = {name: position for position, node in enumerate(nodes) for name in node.output if name in outputs}
    constants = _constants(proto)
    with tempfile.TemporaryDirectory(prefix="autocompress-") as folder:
        loadable = _loadable(proto, Path(folder))
        yield GivenModel(loadable, nodes, names, constants, results, _precomputed(nodes, constants))


def _constants(proto: ModelProto) -> dict[str, TensorProto]:
    found = {weight.name: weight for weight in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Constant" and is_standard(node.domain):
            found.update((node.output[0], a.t) for a in node.attribute if a.name == "value")
    return found


def _precomputed(nodes: Sequence[NodeProto], constants: Mapping[str, TensorProto]) -> frozenset[int]:
    known = set(constants)
    found = set()
    for position, node in enumerate(nodes):
        read = names_read(node)
        if (is_standard(node.domain) and node.op_type in _SHAPE_OPS) or (read and read <= known):
            found.add(position)
            known.update(name for name in node.output if name)
    return frozenset(found)


def _loadable(proto: ModelProto, folder: Path) -> bytes | str:
    if proto.ByteSize() <= _LARGE_BYTES:
        return bytes(proto.SerializeToString())
    path = folder / "marked.onnx"
    copy = ModelProto()
    copy.CopyFrom(proto)  # saving moves the weights out of what it is given
    onnx.save_model(copy, str(path), save_as_external_data=True, location="marked.weights", size_threshold=1024)
    return str(path)
