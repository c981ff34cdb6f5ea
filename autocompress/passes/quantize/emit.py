"""Writes the quantized graph: Quantize/Dequantize pairs where the plan puts them, integer weights and biases."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx

from autocompress.calibration.scheme import Scheme, quantization_parameters, quantize
from autocompress.graph.index import GraphIndex
from autocompress.graph.rewrite import drop_dead, tensor_names
from autocompress.graph.walk import names_read, rename_reads, subgraphs
from autocompress.passes.quantize.bias import integer_bias, overflowing_channels
from autocompress.passes.quantize.config import QuantizeConfig
from autocompress.passes.quantize.dynamic import DynamicWriter
from autocompress.passes.quantize.plan import Plan
from autocompress.passes.quantize.units import Unit
from autocompress.passes.quantize.weights import WeightQuantizer
from autocompress.passes.quantize.writer import GraphWriter


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
        self._writer = GraphWriter(tensor_names(model) | set(index.nodes))
        self._dynamic = DynamicWriter(self._writer)
        self._unit_of = {unit.name: unit for unit in plan.int8_units}
        self._dynamic_of = {unit.name: unit for unit in plan.dynamic_units}
        self._scheme = Scheme(
            dtype=config.activation_dtype, symmetric=config.activation_symmetric, granularity="per_tensor"
        )
        self._per_channel: set[tuple[str, int]] = set()
        self._parameters_of: dict[str, tuple[float, str, str]] = {}

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
            if name:
                copy.input[i] = self._read(node, name)
        if next(subgraphs(copy), None) is not None:
            # Bodies read what an int8 unit produced through its Dequantize, like everybody else.
            rename_reads([copy], {name: self._read(node, name) for name in names_read(node) & self._plan.produced})
        for i, name in enumerate(node.output):
            copy.output[i] = self._raw(name)
        unit = self._unit_of.get(node.name)
        if unit is not None and unit.weight is not None:
            self._write_weight(copy, node, unit)
        elif unit is not None:
            self._write_constant_operands(copy, node)
        return copy

    def _read(self, node: onnx.NodeProto, name: str) -> str:
        if name in self._plan.produced and node.name in self._plan.guarded and name == node.input[0]:
            return self._dequantized_per_channel(name, *self._plan.guarded[node.name])
        if name in self._plan.produced or (name in self._plan.quantized and node.name in self._plan.int8_nodes):
            return self._dequantized(name)
        return name

    def _raw(self, name: str) -> str:
        return self._writer.name(name, "raw") if self._keeps_its_name(name) else name

    def _dequantized(self, name: str) -> str:
        return name if self._keeps_its_name(name) else self._writer.name(name, "dequantized")

    def _keeps_its_name(self, name: str) -> bool:
        # A graph output that is int8-produced keeps its name for the dequantized form.
        return name in self._index.outputs and name in self._plan.produced

    def _quantize_dequantize(self, source: str, name: str) -> None:
        _, scale_name, zero_name = self._parameters(self._plan.quantized[name])
        quantized = self._writer.name(name, "quantized")
        for op_type, before, after, part in (
            ("QuantizeLinear", source, quantized, "quantize"),
            ("DequantizeLinear", quantized, self._dequantized(name), "dequantize"),
        ):
            self._writer.node(op_type, [before, scale_name, zero_name], [after], self._writer.name(name, part))

    def _dequantized_per_channel(self, name: str, axis: int, channels: int) -> str:
        result = self._writer.name(name, f"dequantized_axis{axis}")
        if (name, axis) not in self._per_channel:
            self._per_channel.add((name, axis))
            root = self._plan.quantized[name]
            scale, _, _ = self._parameters(root)
            zero_point = quantization_parameters(*self._ranges[root], self._scheme)[1]
            inputs = [
                self._writer.name(name, "quantized"),
                self._writer.constant(name, f"scales_axis{axis}", np.full(channels, scale, np.float32)),
                self._writer.constant(
                    name, f"zero_points_axis{axis}", np.full(channels, zero_point, self._config.activation_dtype)
                ),
            ]
            node_name = self._writer.name(name, f"dequantize_axis{axis}")
            self._writer.node("DequantizeLinear", inputs, [result], node_name, axis=axis)
        return result

    def _parameters(self, root: str) -> tuple[float, str, str]:
        """Scale of a tensor, and the names of its scale and zero point."""
        if root not in self._parameters_of:
            scale, zero_point = quantization_parameters(*self._ranges[root], self._scheme)
            self._parameters_of[root] = (
                float(scale),
                self._writer.constant(root, "scale", np.array(scale, np.float32)),
                self._writer.constant(root, "zero_point", np.array(zero_point, self._config.activation_dtype)),
            )
        return self._parameters_of[root]

    def _write_weight(self, copy: onnx.NodeProto, node: onnx.NodeProto, unit: Unit) -> None:
        weight = self._weights.quantized(unit, self._config)
        bias = self._bias(unit)
        input_scale, _, _ = self._parameters(self._plan.quantized[node.input[0]])
        if bias is not None:
            over = overflowing_channels(bias, input_scale, weight.scales)
            weight = self._weights.widened(unit, weight, over, bias, input_scale)
        copy.input[1] = self._write_constant(
            unit.name, "weight", weight.values, weight.scales, weight.zero_points, weight.axis
        )
        if bias is None:
            return
        integers, scales = integer_bias(bias, input_scale, weight.scales)
        name = self._write_constant(unit.name, "bias", integers, scales, None, 0 if scales.ndim else None)
        if len(copy.input) > 2:
            copy.input[2] = name
        else:
            copy.input.append(name)

    def _bias(self, unit: Unit) -> npt.NDArray[np.float32] | None:
        if unit.name in self._biases:
            return np.asarray(self._biases[unit.name], np.float32)
        return None if unit.bias is None else self._index.weight(unit.bias).astype(np.float32)

    def _write_constant_operands(self, copy: onnx.NodeProto, node: onnx.NodeProto) -> None:
        for i, name in enumerate(node.input):
            if name and self._index.is_constant(name):
                values = self._index.weight(name).astype(np.float32)
                scale, zero_point = quantization_parameters(
                    min(float(values.min()), 0.0), max(float(values.max()), 0.0), self._scheme
                )
                integers = quantize(values, scale, zero_point, self._scheme)
                zero = np.array(zero_point, self._config.activation_dtype)
                copy.input[i] = self._write_constant(
                    node.name, f"operand{i}", integers, np.array(scale, np.float32), zero, None
                )

    def _write_constant(
        self,
        owner: str,
        part: str,
        values: npt.NDArray[np.generic],
        scales: npt.NDArray[np.float32],
        zero_points: npt.NDArray[np.generic] | None,
        axis: int | None,
    ) -> str:
        """Writes integers and their Dequantize; returns the name of the dequantized tensor."""
        write = self._writer
        inputs = [
            write.constant(owner, f"{part}_quantized", values),
            write.constant(owner, f"{part}_scale", scales),
        ]
        if zero_points is not None:
            inputs.append(write.constant(owner, f"{part}_zero_point", zero_points))
        attributes = {} if axis is None else {"axis": axis}
        result = write.name(owner, f"{part}_dequantized")
        write.node("DequantizeLinear", inputs, [result], write.name(owner, f"{part}_dequantize"), **attributes)
        return result

    def _assemble(self) -> onnx.ModelProto:
        graph = self._model.graph
        used = {name for node in self._writer.nodes for name in names_read(node)} | self._index.outputs
        result = onnx.ModelProto()
        for name in ("ir_version", "producer_name", "domain", "model_version"):
            if self._model.HasField(name):
                setattr(result, name, getattr(self._model, name))
        result.opset_import.extend(self._model.opset_import)
        result.metadata_props.extend(self._model.metadata_props)
        result.functions.extend(self._model.functions)
        result.graph.name = graph.name
        result.graph.input.extend(graph.input)
        result.graph.output.extend(graph.output)
        result.graph.node.extend(self._writer.nodes)
        result.graph.initializer.extend(w for w in graph.initializer if w.name in used)
        result.graph.initializer.extend(self._writer.initializers)
        # Where every reader has a Dequantize of its own, the common one is left over.
        drop_dead(result)
        return result
