"""Writes the quantized graph: Quantize/Dequantize pairs where the plan puts them, integer weights and biases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from autocompress.calibration.scheme import Scheme, quantization_parameters, quantize
from autocompress.graph.index import GraphIndex, attribute, captured_names
from autocompress.passes.quantize.bias import integer_bias, overflowing_channels
from autocompress.passes.quantize.config import QuantizeConfig
from autocompress.passes.quantize.dynamic import DynamicWriter
from autocompress.passes.quantize.plan import Plan
from autocompress.passes.quantize.units import Unit
from autocompress.passes.quantize.weights import QuantizedWeight, WeightQuantizer


@dataclass
class GraphWriter:
    """Collects the nodes and initializers of the new graph, in order."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: dict[str, onnx.TensorProto] = field(default_factory=dict)

    def node(self, op_type: str, inputs: list[str], outputs: list[str], name: str, **attributes: object) -> None:
        """Appends one node."""
        self.nodes.append(helper.make_node(op_type, inputs, outputs, name=name, **attributes))

    def constant(self, name: str, values: npt.NDArray[np.generic]) -> str:
        """Adds a weight once; returns its name."""
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(np.asarray(values, order="C"), name)
        return name


class QdqEmitter:
    """Rewrites one prepared model for one configuration, plan and set of ranges."""

    def __init__(
        self,
        model: onnx.ModelProto,
        index: GraphIndex,
        config: QuantizeConfig,
        plan: Plan,
        weights: WeightQuantizer,
        ranges: Mapping[str, tuple[float, float]],
        biases: Mapping[str, npt.NDArray[np.float32]],
    ) -> None:
        self._model = model
        self._index = index
        self._config = config
        self._plan = plan
        self._weights = weights
        self._ranges = ranges
        self._biases = biases
        self._writer = GraphWriter()
        self._dynamic = DynamicWriter(self._writer, index)
        self._unit_of = {unit.name: unit for unit in plan.int8_units}
        self._dynamic_of = {unit.name: unit for unit in plan.dynamic_units}
        self._scheme = Scheme(
            dtype=config.activation_dtype, symmetric=config.activation_symmetric, granularity="per_tensor"
        )
        self._scales: dict[str, float] = {}

    def emit(self) -> onnx.ModelProto:
        """The quantized model; the given one is not changed."""
        for name in self._plan.quantized:
            if name not in self._index.producers:
                self._quantize_dequantize(name, name)
        for node in self._index.graph.node:
            self._emit_node(node)
        return self._assemble()

    def _emit_node(self, node: onnx.NodeProto) -> None:
        if node.name in self._dynamic_of:
            unit = self._dynamic_of[node.name]
            weight = self._weights.quantized(unit, self._config)
            self._dynamic.write(node, self._read(node, node.input[0]), weight)
        else:
            self._writer.nodes.append(self._rewired(node))
        for name in node.output:
            if name in self._plan.quantized:
                self._quantize_dequantize(self._raw(name), name)

    def _rewired(self, node: onnx.NodeProto) -> onnx.NodeProto:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for i, name in enumerate(node.input):
            copy.input[i] = self._read(node, name)
        for i, name in enumerate(node.output):
            copy.output[i] = self._raw(name)
        unit = self._unit_of.get(node.name)
        if unit is not None and unit.weight is not None:
            self._write_weight(copy, node, unit)
        elif unit is not None:
            self._write_constant_operands(copy, node)
        return copy

    def _read(self, node: onnx.NodeProto, name: str) -> str:
        if name in self._plan.produced:
            # A graph output that is int8-produced keeps its name for the dequantized form.
            return name if name in self._index.outputs else f"{name}_dequantized"
        if name in self._plan.quantized and node.name in self._plan.int8_nodes:
            return f"{name}_dequantized"
        return name

    def _raw(self, name: str) -> str:
        return f"{name}_raw" if name in self._index.outputs and name in self._plan.produced else name

    def _quantize_dequantize(self, source: str, name: str) -> None:
        root = self._plan.quantized[name]
        scale_name, zero_name = self._parameters(root)
        produced_output = name in self._index.outputs and name in self._plan.produced
        dequantized = name if produced_output else f"{name}_dequantized"
        quantized = f"{name}_quantized"
        self._writer.node("QuantizeLinear", [source, scale_name, zero_name], [quantized], f"{name}_quantize")
        self._writer.node("DequantizeLinear", [quantized, scale_name, zero_name], [dequantized], f"{name}_dequantize")

    def _parameters(self, root: str) -> tuple[str, str]:
        if root not in self._scales:
            low, high = self._ranges[root]
            scale, zero_point = quantization_parameters(low, high, self._scheme)
            self._scales[root] = float(scale)
            self._writer.constant(f"{root}_scale", np.array(scale, np.float32))
            self._writer.constant(f"{root}_zero_point", np.array(zero_point, self._config.activation_dtype))
        return f"{root}_scale", f"{root}_zero_point"

    def _write_weight(self, copy: onnx.NodeProto, node: onnx.NodeProto, unit: Unit) -> None:
        weight = self._weights.quantized(unit, self._config)
        bias = self._bias(unit)
        input_scale = self._scale_of(node.input[0])
        if bias is not None:
            weight = self._weights.widened(unit, weight, overflowing_channels(bias, input_scale, weight.scales), bias, input_scale)
        copy.input[1] = self._write_dequantized_constant(
            f"{unit.name}_weight", weight.values, weight.scales, weight.zero_points, weight.axis
        )
        if bias is None:
            return
        integers, scales = integer_bias(bias, input_scale, weight.scales)
        name = self._write_dequantized_constant(f"{unit.name}_bias", integers, scales, None, None if scales.ndim == 0 else 0)
        if len(copy.input) > 2:
            copy.input[2] = name
        else:
            copy.input.append(name)

    def _bias(self, unit: Unit) -> npt.NDArray[np.float32] | None:
        if unit.name in self._biases:
            return np.asarray(self._biases[unit.name], np.float32)
        return None if unit.bias is None else self._index.weight(unit.bias).astype(np.float32)

    def _scale_of(self, tensor: str) -> float:
        root = self._plan.quantized[tensor]
        self._parameters(root)
        return self._scales[root]

    def _write_constant_operands(self, copy: onnx.NodeProto, node: onnx.NodeProto) -> None:
        for i, name in enumerate(node.input):
            if name and self._index.is_constant(name):
                values = self._index.weight(name).astype(np.float32)
                scale, zero_point = quantization_parameters(
                    min(float(values.min()), 0.0), max(float(values.max()), 0.0), self._scheme
                )
                scale_array = np.array(scale, np.float32)
                zero_array = np.array(zero_point, self._config.activation_dtype)
                integers = quantize(values, scale_array, zero_array, self._scheme)
                copy.input[i] = self._write_dequantized_constant(
                    f"{node.name}_operand{i}", integers, scale_array, zero_array, None
                )

    def _write_dequantized_constant(
        self,
        name: str,
        values: npt.NDArray[np.generic],
        scales: npt.NDArray[np.float32],
        zero_points: npt.NDArray[np.generic] | None,
        axis: int | None,
    ) -> str:
        inputs = [
            self._writer.constant(f"{name}_quantized", values),
            self._writer.constant(f"{name}_scale", scales),
        ]
        if zero_points is not None:
            inputs.append(self._writer.constant(f"{name}_zero_point", zero_points))
        attributes = {} if axis is None else {"axis": axis}
        self._writer.node("DequantizeLinear", inputs, [f"{name}_dequantized"], f"{name}_dequantize", **attributes)
        return f"{name}_dequantized"

    def _assemble(self) -> onnx.ModelProto:
        used = {name for node in self._writer.nodes for name in node.input}
        for node in self._writer.nodes:
            used.update(captured_names(node))
        used.update(self._index.outputs)
        graph = self._model.graph
        kept = [w for w in graph.initializer if w.name in used]
        result = onnx.ModelProto()
        for name in ("ir_version", "producer_name", "domain", "model_version"):
            setattr(result, name, getattr(self._model, name))
        result.opset_import.extend(self._model.opset_import)
        result.functions.extend(self._model.functions)
        result.graph.name = graph.name
        result.graph.input.extend(graph.input)
        result.graph.output.extend(graph.output)
        result.graph.node.extend(self._writer.nodes)
        result.graph.initializer.extend(kept)
        result.graph.initializer.extend(self._writer.initializers.values())
        return result


def conv_groups(node: onnx.NodeProto) -> int:
    """Groups of a convolution; 1 for every other node."""
    return int(str(attribute(node, "group", 1))) if node.op_type == "Conv" else 1


__all__ = ["GraphWriter", "QdqEmitter", "QuantizedWeight", "conv_groups"]
