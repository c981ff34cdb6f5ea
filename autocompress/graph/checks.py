"""Structural checks of a model that was just read: each failure is one sentence that names the culprit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import onnx
from onnx import GraphProto, ModelProto, NodeProto

from autocompress.errors import ModelError
from autocompress.graph.skeleton import skeleton
from autocompress.graph.walk import all_graphs, all_nodes, is_standard, node_label, nodes_within, opset_of

RUNTIME_DOMAINS = frozenset(
    {"com.microsoft", "com.microsoft.nchwc", "com.microsoft.experimental", "com.ms.internal.nhwc"}
)
"""Domains whose operators stock ONNX Runtime brings along."""

_SCHEMA_DOMAINS = frozenset({"", "ai.onnx.ml", "ai.onnx.preview", "ai.onnx.preview.training"})
_LONGEST_DIGEST = 300


def check_model(model: ModelProto) -> None:
    """Refuses what cannot be compressed or run.

    Raises:
        ModelError: empty graph, no or dangling outputs, unknown opset or operator, duplicated names, inputs that
            are no tensors of known rank, or anything onnx.checker rejects.
    """
    _check_not_empty(model.graph)
    _check_opsets(model)
    _check_operators(model)
    _check_unique_names(model.graph)
    _check_inputs(model.graph)
    _check_outputs(model.graph)
    _run_checker(model)


def _check_not_empty(graph: GraphProto) -> None:
    if not graph.node:
        raise ModelError("The model's graph is empty: it has no operators; export the model again.")
    if not graph.output:
        raise ModelError("The model declares no outputs; export it again with at least one output.")


def _check_opsets(model: ModelProto) -> None:
    if not model.opset_import:
        raise ModelError("The model imports no operator set: the file is truncated or was not written by an exporter.")
    newest = onnx.defs.onnx_opset_version()
    version = opset_of(model)
    if version > newest:
        raise ModelError(
            f"The model uses opset {version}, but the newest known one is {newest}; export it with opset 21 or lower."
        )
    needs_standard = any(is_standard(node.domain) for node in all_nodes(model))
    if version < 1 and needs_standard:
        raise ModelError(
            "The model uses standard ONNX operators without importing their operator set; export it again."
        )


def _check_operators(model: ModelProto) -> None:
    functions = {(function.domain, function.name) for function in model.functions}
    versions = {("" if is_standard(o.domain) else o.domain): int(o.version) for o in model.opset_import}
    for node in all_nodes(model):
        if (node.domain, node.op_type) not in functions:
            _check_operator(node, versions)


def _check_operator(node: NodeProto, versions: dict[str, int]) -> None:
    domain = "" if is_standard(node.domain) else node.domain
    if domain in RUNTIME_DOMAINS:
        return
    where = f"operator '{node.op_type}' (node {node_label(node)})"
    if domain not in _SCHEMA_DOMAINS:
        raise ModelError(
            f"The model uses {where} of the domain '{domain}', which no stock runtime knows; "
            "replace it by standard ONNX operators."
        )
    if domain not in versions:
        raise ModelError(f"The model uses {where} of the domain '{domain}' without importing it; export it again.")
    _check_schema(node, domain, versions[domain], where)


def _check_schema(node: NodeProto, domain: str, version: int, where: str) -> None:
    try:
        schema = onnx.defs.get_schema(node.op_type, max_inclusive_version=version, domain=domain)
    except onnx.defs.SchemaError:
        raise ModelError(
            f"The model uses {where}, which does not exist in opset {version} of "
            f"{domain or 'ONNX'}; replace it or export with another opset."
        ) from None
    if schema.deprecated:
        raise ModelError(f"The model uses {where}, which opset {version} has removed; export it with an older opset.")


def _check_unique_names(graph: GraphProto) -> None:
    for inner in all_graphs(graph):
        computed = (name for node in inner.node for name in node.output if name)
        _refuse_repeated(computed, "computed by more than one operator")
        weights = [w.name for w in inner.initializer] + [s.values.name for s in inner.sparse_initializer]
        _refuse_repeated(weights, "the name of more than one weight")
        _refuse_repeated((i.name for i in inner.input), "the name of more than one input")
        _refuse_repeated((o.name for o in inner.output), "listed as an output more than once")
    given = {i.name for i in graph.input} | {w.name for w in graph.initializer}
    for node in graph.node:
        for name in node.output:
            if name in given:
                raise ModelError(
                    f"The tensor '{name}' is both given to the model and computed by node {node_label(node)}."
                )


def _refuse_repeated(names: Iterable[str], what: str) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ModelError(f"The name '{repeated[0]}' is {what}; names must be unique, so export the model again.")


def _check_inputs(graph: GraphProto) -> None:
    for given in graph.input:
        if not given.type.HasField("tensor_type"):
            raise ModelError(f"The model's input '{given.name}' is not a tensor; only tensor inputs are supported.")
        if not given.type.tensor_type.HasField("shape"):
            raise ModelError(
                f"The model's input '{given.name}' declares no number of dimensions; export it with a shape."
            )


def _check_outputs(graph: GraphProto) -> None:
    known = {i.name for i in graph.input} | {w.name for w in graph.initializer}
    known.update(s.values.name for s in graph.sparse_initializer)
    known.update(name for node in graph.node for name in node.output)
    for output in graph.output:
        if output.type.WhichOneof("value") not in (None, "tensor_type"):
            raise ModelError(f"The model's output '{output.name}' is not a tensor; only tensor outputs are supported.")
        if output.name not in known:
            raise ModelError(f"The model's output '{output.name}' is computed by no operator; export the model again.")


def _run_checker(model: ModelProto) -> None:
    light, _ = skeleton(model)
    for output in light.graph.output:  # the checker wants a shape there; runtimes do not
        output.type.tensor_type.shape.SetInParent()  # (all outputs are tensors, as checked before)
    try:
        onnx.checker.check_model(light)
    except onnx.checker.ValidationError as error:
        raise ModelError(f"The model is not valid ONNX: {_digest(str(error))}.") from None


def _digest(message: str) -> str:
    """One line of a checker message: without its context, dumps of nodes cut short."""
    text = " ".join(message.split("==>")[0].split()).rstrip(". ")
    return text if len(text) <= _LONGEST_DIGEST else text[: _LONGEST_DIGEST - 3] + "..."


def operators_used(model: ModelProto) -> frozenset[tuple[str, str]]:
    """Every (domain, op type) in the main graph and its bodies; the standard domain is ""."""
    return frozenset(
        ("" if is_standard(node.domain) else node.domain, node.op_type) for node in nodes_within(model.graph.node)
    )
