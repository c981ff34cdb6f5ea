"""What the given model says about the operators that a runtime makes of it."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from autocompress.api.explain.executed import CONVERSION, KERNEL, LAYOUT, PricedOp
from autocompress.graph.index import GraphIndex
from autocompress.runtimes.protocol import QuantizationRules

_CONVERSIONS = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")
_STEPS_UP = 4
# Integer forms that a model may spell out itself.
_INTEGER_PREFIXES = ("QLinear", "QGemm", "QAttention", "DynamicQuantize", "MatMulInteger", "ConvInteger", "MatMulNBits")


class GivenModel:
    """Lookups from executed operators into the model that was given.

    Args:
        model: the given model.
        rules: what the runtime has integer kernels for.
    """

    def __init__(self, model: onnx.ModelProto, rules: QuantizationRules) -> None:
        self._index = GraphIndex(model)
        # An empty name is no name.
        self._nodes = {name: node for name, node in self._index.nodes.items() if name}
        self._rules = rules
        self._known = (
            rules.weighted_ops
            | rules.joint_ops
            | rules.transparent_ops
            | rules.fused_activations
            | rules.dynamic_ops
            | rules.requantized_ops
            | {kind for activation in rules.computed_activations for kind in activation}
            | ({"Add"} if rules.bias_adds else set())
        )

    def node_of(self, op: PricedOp) -> onnx.NodeProto | None:
        """The given node that an executed operator is first of all; None where no name survived."""
        found = list(dict.fromkeys(id(n) for n in self._candidates(op)))
        nodes = {id(n): n for n in self._candidates(op)}
        candidates = [nodes[i] for i in found]
        if op.role == CONVERSION:
            return next((n for n in candidates if n.op_type in _CONVERSIONS), None)
        plain = [n for n in candidates if n.op_type not in _CONVERSIONS]
        if op.role == KERNEL:
            return next((n for node in plain for n in self._up_to_weights(node)), plain[0] if plain else None)
        return plain[0] if plain else None

    def label(self, op: PricedOp) -> str:
        """What to call an executed operator: as the given model calls it, where it does."""
        node = None if op.role in (CONVERSION, LAYOUT) else self.node_of(op)
        return (node.name or node.output[0]) if node is not None else op.op.name

    def kind(self, op: PricedOp) -> str:
        """Type of the given operator, else the type that is executed."""
        node = self.node_of(op)
        return node.op_type if node is not None else op.signature.op_type

    def has_integer_kernel(self, op: PricedOp) -> bool | None:
        """Whether the runtime has any integer kernel for this type of operator; None where it cannot be told."""
        node = self.node_of(op)
        if node is None:
            return None
        return node.op_type in self._known or node.op_type.startswith(_INTEGER_PREFIXES)

    def inserted(self, op: PricedOp) -> bool:
        """Whether the runtime put an operator in that only moves data and that the given model does not have."""
        types = {n.op_type for n in self._candidates(op)}
        return op.signature.op_type not in types

    def missing_conversions(self, op: PricedOp) -> list[str] | None:
        """What keeps a float kernel of a quantized model from being one on integers; None where it is not known.

        Returns:
            Phrases such as "its weight is float"; empty where all stands as it should.
        """
        node = self.node_of(op)
        if node is None or len(node.input) < 1:
            return None
        missing = []
        if not self._dequantized(node.input[0]):
            missing.append("its input is float")
        if len(node.input) > 1 and not self._dequantized(node.input[1]):
            missing.append("its weight is float" if self._index.is_constant(node.input[1]) else "an input is float")
        if not missing and not self._after(node):
            missing.append("its result is read without a QuantizeLinear")
        return missing

    def output_channels(self, op: PricedOp) -> int | None:
        """Output channels of a convolution as the model has it; None where its weight is not known."""
        node = self.node_of(op)
        if node is None or node.op_type != "Conv" or len(node.input) < 2:
            return None
        weight = self._index.initializers.get(node.input[1])
        return None if weight is None or not weight.dims else int(weight.dims[0])

    def activation_before_quantize(self, op: PricedOp) -> str | None:
        """Type of the activation that stands between a kernel and the QuantizeLinear of its result; None without."""
        node = self.node_of(op)
        following = self._after(node) if node is not None else []
        return following[0] if following and following[0] in self._rules.fused_activations else None

    def writes_output(self, op: PricedOp) -> bool:
        """Whether the model's output comes from an executed operator."""
        return any(name in self._index.outputs for name in op.op.writes)

    def _candidates(self, op: PricedOp) -> Iterator[onnx.NodeProto]:
        for name in op.op.sources:
            if name in self._nodes:
                yield self._nodes[name]
            elif name in self._index.producers:
                yield self._index.producers[name]
            elif self._index.is_constant(name):
                yield from self._index.consumers.get(name, [])[:1]

    def _up_to_weights(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """The node itself, or what feeds it within a few steps, if it multiplies with weights."""
        for _ in range(_STEPS_UP):
            if self._has_weights(node):
                yield node
                return
            above = self._index.producers.get(node.input[0]) if node.input else None
            if above is None:
                return
            node = above

    def _has_weights(self, node: onnx.NodeProto) -> bool:
        if node.op_type in _CONVERSIONS:
            return False
        for name in node.input[1:]:
            above = self._index.producers.get(name)
            if above is not None and above.op_type == "DequantizeLinear":
                name = above.input[0]
            if self._index.is_constant(name) and len(self._index.initializers[name].dims) >= 2:
                return True
        return node.op_type in ("MatMul", "Gemm", "Conv", "LSTM", "GRU")

    def _dequantized(self, name: str) -> bool:
        above = self._index.producers.get(name)
        return above is not None and above.op_type == "DequantizeLinear"

    def _after(self, node: onnx.NodeProto) -> list[str]:
        """Types from a node's reader to the QuantizeLinear of its result, activations between; empty if it has none."""
        passed: list[str] = []
        for _ in range(_STEPS_UP):
            readers = self._index.consumers.get(node.output[0], [])
            if node.output[0] in self._index.outputs or (
                readers and all(r.op_type == "QuantizeLinear" for r in readers)
            ):
                return [*passed, "QuantizeLinear"]
            if len(readers) != 1 or readers[0].op_type not in self._rules.fused_activations:
                return []
            node = readers[0]
            passed.append(node.op_type)
        return []
