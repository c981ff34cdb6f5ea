"""Moving a model to another version of the standard operator set.

Upwards: ``onnx.version_converter``.  Downwards: only where nothing but admitted types changed in between, which is
the case for all usual operators between the versions 21 and 26; the number is then the only thing to change.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import ModelProto, NodeProto

from autocompress.errors import ModelError
from autocompress.graph.checks import check_model
from autocompress.graph.saving import IR_VERSION
from autocompress.graph.skeleton import attach, skeleton
from autocompress.graph.walk import all_nodes, is_standard, node_label, opset_of, set_opset

OLDEST_OPSET = 13  # per-channel QuantizeLinear
NEWEST_OPSET = 21  # what a stock runtime of the last years runs
_FALLBACK_OPSETS = (13, 17, 21)


def within_supported(model: ModelProto) -> ModelProto:
    """The model itself if its opset is between 13 and 21, else a converted copy.

    Raises:
        ModelError: it cannot be converted without changing what it computes.
    """
    version = opset_of(model)
    if version > NEWEST_OPSET:
        return lower_opset(model, NEWEST_OPSET)
    if version < OLDEST_OPSET and any(is_standard(node.domain) for node in all_nodes(model)):
        return raise_opset(model, OLDEST_OPSET)
    return model


def raise_opset(model: ModelProto, minimum: int) -> ModelProto:
    """The model itself if its opset is at least ``minimum``, else a copy converted upwards.

    Raises:
        ModelError: an operator cannot be converted.
    """
    version = opset_of(model)
    if version >= minimum:
        return model
    targets = sorted({minimum, *(target for target in _FALLBACK_OPSETS if target > minimum)})
    return _first_conversion(model, version, targets)


def lower_opset(model: ModelProto, maximum: int) -> ModelProto:
    """A copy that imports opset ``maximum``, where it computes the same there.

    Raises:
        ModelError: an operator, attribute or input does not exist in that version.
    """
    version = opset_of(model)
    for node in all_nodes(model):
        if is_standard(node.domain):
            _check_unchanged(node, version, maximum)
    lowered = ModelProto()
    lowered.CopyFrom(model)
    set_opset(lowered, maximum)
    check_model(lowered)
    return lowered


def _first_conversion(model: ModelProto, version: int, targets: Sequence[int]) -> ModelProto:
    reason = ""
    for target in targets:
        try:
            return _convert(model, target)
        except (RuntimeError, ModelError) as error:  # ConvertError is a RuntimeError
            reason = reason or _first_line(str(error))
    raise ModelError(
        f"The model's opset {version} cannot be raised to {targets[0]} ({reason}); export it with opset 13 to 21."
    )


def _convert(model: ModelProto, target: int) -> ModelProto:
    light, heavy = skeleton(model)
    converted = onnx.version_converter.convert_version(light, target)
    attach(converted, heavy, frozenset(given.name for given in model.graph.input))
    _restore_interface(converted, model)
    converted.ir_version = IR_VERSION  # old versions want weights listed as inputs, which the converter forgets
    check_model(converted)
    return converted


def _restore_interface(converted: ModelProto, model: ModelProto) -> None:
    """The converter must not have touched what a user sees; declared shapes are taken from the original."""
    outputs = [output.name for output in model.graph.output]
    if [output.name for output in converted.graph.output] != outputs:
        raise ModelError("the converter renamed the outputs")
    for ours, theirs in ((converted.graph.input, model.graph.input), (converted.graph.output, model.graph.output)):
        kept = list(theirs)
        del ours[:]
        ours.extend(kept)
    del converted.metadata_props[:]
    converted.metadata_props.extend(model.metadata_props)


def _check_unchanged(node: NodeProto, version: int, maximum: int) -> None:
    new = onnx.defs.get_schema(node.op_type, max_inclusive_version=version, domain="")
    if new.since_version <= maximum:
        return
    where = f"The operator '{node.op_type}' (node {node_label(node)}) of opset {version}"
    try:
        old = onnx.defs.get_schema(node.op_type, max_inclusive_version=maximum, domain="")
    except onnx.defs.SchemaError:
        raise ModelError(f"{where} does not exist in opset {maximum}; export the model with opset {maximum}.") from None
    same_attributes = all(
        attribute.name in old.attributes
        and _default(old.attributes[attribute.name]) == _default(new.attributes[attribute.name])
        for attribute in node.attribute
    )
    defaults_kept = all(_default(new.attributes[name]) == _default(known) for name, known in old.attributes.items())
    if not (same_attributes and defaults_kept and len(node.input) <= old.max_input):
        raise ModelError(f"{where} differs from that of opset {maximum}; export the model with opset {maximum}.")


def _default(attribute: object) -> bytes:
    proto = attribute.default_value  # type: ignore[attr-defined]
    return bytes(proto.SerializeToString(deterministic=True))


def _first_line(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[0][:200].rstrip(".") if lines else "no reason given"
