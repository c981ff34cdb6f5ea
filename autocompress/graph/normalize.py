"""The canonical form of a model, which every pass relies on.

Afterwards: opset 13 to 21, IR version 10, no local functions, no Constant, Identity or inference-time Dropout nodes
(except an Identity that copies an input, weight or other output to an output), weights dense, raw and not listed as
inputs, outputs with shapes as far as known, every node named uniquely, nodes in topological order, nothing that no
output depends on, only the operator sets in use imported.  Inputs, outputs and what is computed stay the same.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx.inliner
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from autocompress.graph.inference import drop_annotations, infer_shapes
from autocompress.graph.model import copy_model
from autocompress.graph.opset import within_supported
from autocompress.graph.rewrite import (
    bypass,
    constants_to_weights,
    drop_dead,
    name_nodes,
    sort_nodes,
    strip_annotations,
)
from autocompress.graph.saving import IR_VERSION
from autocompress.graph.tensors import densify, raw_bytes
from autocompress.graph.walk import all_graphs, all_nodes, is_standard, opset_of, set_opset


def normalize(model: ModelProto) -> ModelProto:
    """A copy in canonical form, equal in function; the same input gives the same bytes.

    Raises:
        ModelError: the operator set cannot be brought to 13..21, or the graph has a cycle.
    """
    canonical = within_supported(_without_functions(model))
    if canonical is model:
        canonical = copy_model(model)
    canonical.ir_version = IR_VERSION
    canonical.ClearField("training_info")
    strip_annotations(canonical)
    _plain_weights(canonical)
    constants_to_weights(canonical.graph)
    _raw_weights(canonical)
    sort_nodes(canonical)
    bypass(canonical, _is_identity(canonical))
    drop_dead(canonical)
    name_nodes(canonical)
    drop_annotations(canonical)
    _declare_outputs(canonical)
    _import_what_is_used(canonical)
    return canonical


def _without_functions(model: ModelProto) -> ModelProto:
    return onnx.inliner.inline_local_functions(model) if model.functions else model


def _plain_weights(model: ModelProto) -> None:
    """Sparse weights become dense ones; weights are no graph inputs (they are constants, not defaults)."""
    for graph in all_graphs(model.graph):
        graph.initializer.extend(
            numpy_helper.from_array(densify(sparse), sparse.values.name) for sparse in graph.sparse_initializer
        )
        del graph.sparse_initializer[:]
    weights = {weight.name for weight in model.graph.initializer}
    inputs = [given for given in model.graph.input if given.name not in weights]
    if len(inputs) != len(model.graph.input):
        del model.graph.input[:]
        model.graph.input.extend(inputs)


def _raw_weights(model: ModelProto) -> None:
    for weight in model.graph.initializer:
        if not weight.HasField("raw_data") and weight.data_type != TensorProto.STRING:
            raw = TensorProto(
                name=weight.name, data_type=weight.data_type, dims=weight.dims, raw_data=raw_bytes(weight)
            )
            weight.CopyFrom(raw)


def _is_identity(model: ModelProto) -> Callable[[NodeProto], bool]:
    """A predicate: the node hands its input on, at inference time."""
    weights = {weight.name: weight for weight in model.graph.initializer}

    def is_identity(node: NodeProto) -> bool:
        if not is_standard(node.domain):
            return False
        if node.op_type == "Dropout":
            mask_unused = len(node.output) < 2 or not node.output[1]
            mode = node.input[2] if len(node.input) > 2 else ""
            inference = not mode or (mode in weights and not numpy_helper.to_array(weights[mode]).any())
            return mask_unused and inference
        return bool(node.op_type == "Identity")

    return is_identity


def _declare_outputs(model: ModelProto) -> None:
    """Gives outputs without a declared shape the one that follows (runtimes do not need it, the ONNX checker does)."""
    if all(output.type.tensor_type.HasField("shape") for output in model.graph.output):
        return
    for output, inferred in zip(model.graph.output, infer_shapes(model).graph.output, strict=True):
        output.CopyFrom(inferred)


def _import_what_is_used(model: ModelProto) -> None:
    used = {node.domain for node in all_nodes(model) if not is_standard(node.domain)}
    versions = {opset.domain: opset for opset in model.opset_import}
    version = opset_of(model)
    del model.opset_import[:]
    model.opset_import.extend(versions[domain] for domain in sorted(used) if domain in versions)
    set_opset(model, version)
    for graph in all_graphs(model.graph):
        for node in graph.node:
            if is_standard(node.domain):
                node.domain = ""
