"""ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import onnxruntime
from onnx import ModelProto, NodeProto

from autocompress.graph.signature import OpSignature, TensorType
from autocompress.runtimes.onnxruntime_rules import RULES
from autocompress.runtimes.onnxruntime_session import NAME, OnnxRuntimeSession
from autocompress.runtimes.operator_model import cut_operator, repeat_operator
from autocompress.runtimes.operator_signature import signature_of
from autocompress.runtimes.optimized_graph import OptimizedGraph, optimized_graph
from autocompress.runtimes.protocol import ExecutedOp, Feeds, QuantizationRules, SessionOptions
from autocompress.runtimes.source_names import SourceNames

_DEFAULT_OPTIONS = SessionOptions()


class OnnxRuntimeCpu:
    """ONNX Runtime's CPU execution provider; see ``autocompress.runtimes.protocol.Runtime``."""

    name: str = NAME
    version: str = onnxruntime.__version__
    quantization: QuantizationRules = RULES

    def load(self, model: bytes | str, options: SessionOptions = _DEFAULT_OPTIONS) -> OnnxRuntimeSession:
        """Loads a model from serialized bytes or from a path."""
        return OnnxRuntimeSession(model, options)

    def executed_ops(
        self, model: bytes | str, feeds: Feeds, *, threads: int = 1, standalone: bool = True, optimize: bool = True
    ) -> Sequence[ExecutedOp]:
        """The optimized graph as executed on ``feeds``; equal signatures share one standalone model.

        Args:
            model: serialized model, or a path.
            feeds: one array per input.
            threads: intra-op threads (they take part in some fusions).
            standalone: whether one-operator models are cut out.
            optimize: False for a model that is already an optimized graph.
        """
        graph = optimized_graph(model, feeds, threads=threads, optimize=optimize)
        sources = SourceNames(_graph_only(model))
        return _operators(graph, sources, standalone)

    def replicate(self, standalone: bytes, copies: int) -> bytes:
        """The operator of a one-operator model ``copies`` times, each with weights of its own."""
        return repeat_operator(standalone, copies)


def _operators(graph: OptimizedGraph, sources: SourceNames, standalone: bool) -> list[ExecutedOp]:
    constants = {weight.name: weight for weight in graph.model.graph.initializer}
    names = _unique(graph.names, graph.model.graph.node)
    cut: dict[OpSignature, bytes | None] = {}
    ops = []
    for position in graph.order:
        node = graph.model.graph.node[position]
        signature = signature_of(
            node,
            [graph.types.get(name) for name in node.input],
            [TensorType(graph.types[name].dtype, graph.types[name].shape) for name in node.output if name],
            constants,
        )
        if standalone and signature not in cut:
            cut[signature] = cut_operator(node, graph.model, graph.types, constants, graph.integers)
        ops.append(
            ExecutedOp(
                name=names[position],
                signature=signature,
                sources=sources.of(graph.names[position], node),
                standalone=cut.get(signature),
                reads=tuple(name for name in node.input if name and name not in constants),
                writes=tuple(name for name in node.output if name),
            )
        )
    return ops


def _unique(names: Sequence[str], nodes: Sequence[NodeProto]) -> list[str]:
    seen: set[str] = set()
    unique = []
    for position, (name, node) in enumerate(zip(names, nodes, strict=True)):
        chosen = name or node.op_type
        if chosen in seen:
            chosen = f"{chosen}#{position}"
        seen.add(chosen)
        unique.append(chosen)
    return unique


def _graph_only(model: bytes | str) -> ModelProto:
    if isinstance(model, bytes):
        return ModelProto.FromString(model)
    return onnx.load(model, load_external_data=False)
