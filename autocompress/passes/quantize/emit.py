"""Writes the quantized graph: Quantize/Dequantize pairs where the plan puts them, integer weights and biases."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx

from autocompress.calibration.scheme import quantization_parameters, quantize
from autocompress.graph.index import GraphIndex
from autocompress.graph.opset import raise_opset
from autocompress.graph.rewrite import drop_dead, tensor_names
from autocompress.graph.walk import names_read, rename_reads, subgraphs
from autocompress.passes.quantize.bias import integer_bias, overflowing_channels
from autocompress.passes.quantize.config import QuantizeConfig
from autocompress.passes.quantize.grids import ActivationGrids
from autocompress.passes.quantize.plan import Plan
from autocompress.passes.quantize.precisions import FP16_WEIGHTS, INT8_DYNAMIC, WEIGHT_ONLY
from autocompress.passes.quantize.qdq import DeployedForm
from autocompress.passes.quantize.simulated import SimulatedForm, rounded_to_half
from autocompress.passes.quantize.storage import fits_half, pack_four_bits, store_half
from autocompress.passes.quantize.units import Unit
from autocompress.passes.quantize.weights import QuantizedWeight, WeightQuantizer
from autocompress.passes.quantize.writer import GraphWriter
from autocompress.runtimes.protocol import QuantizationRules

_RECENT_OPSET = 21  # four-bit integers, 16-bit activations and blocks


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
        rules: QuantizationRules,
        *,
        simulate: bool = False,
    ) -> None:
        self._model = model
        self._index = index
        self._config = config
        self._plan = plan
        self._weights = weights
        self._biases = biases
        self._simulate = simulate
        self._writer = GraphWriter(tensor_names(model) | set(index.nodes))
        self._grids = ActivationGrids(config, ranges)
        self._form = (
            SimulatedForm(self._writer, self._grids) if simulate else DeployedForm(self._writer, self._grids, rules)
        )
        self._unit_of = {unit.name: unit for unit in (*plan.int8_units, *plan.float_activation_units)}

    def emit(self) -> onnx.ModelProto:
        """The quantized model; the given one is not changed."""
        for name in self._plan.quantized:
            if name not in self._index.producers:
                self._round(name, name)
        for node in self._index.graph.node:
            self._emit_node(node)
        return self._assemble()

    def _emit_node(self, node: onnx.NodeProto) -> None:
        unit = self._unit_of.get(node.name)
        precision = "" if unit is None else self._plan.precisions[unit.name]
        if unit is not None and unit.is_table and precision != FP16_WEIGHTS:
            self._form.table(node, self._read(node, node.input[1]), self._weight(unit))
        elif unit is not None and precision == INT8_DYNAMIC:
            self._form.dynamic(node, self._read(node, node.input[0]), self._weight(unit))
        elif unit is not None and precision in WEIGHT_ONLY:
            source, activations = self._read(node, node.input[0]), self._config.weight_only_activations
            self._form.weight_only(node, source, self._weight(unit), activations=activations)
        else:
            self._writer.nodes.append(self._rewired(node))
        for name in node.output:
            if name in self._plan.quantized:
                self._round(self._raw(name), name)

    def _weight(self, unit: Unit) -> QuantizedWeight:
        return self._weights.quantized(unit, self._config, self._plan.precisions[unit.name])

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
        if node.name in self._plan.lifted:
            self._lift_bias(copy, node)
        if unit is None or self._plan.precisions[unit.name] == FP16_WEIGHTS:
            return copy
        if unit.weight is not None:
            self._write_weight(copy, node, unit)
        else:
            self._write_constant_operands(copy, node)
        return copy

    def _read(self, node: onnx.NodeProto, name: str) -> str:
        if name in self._plan.produced and node.name in self._plan.guarded and name == node.input[0]:
            return self._form.per_channel(name, self._plan.quantized[name], *self._plan.guarded[node.name])
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

    def _round(self, source: str, name: str) -> None:
        self._form.activation(source, name, self._dequantized(name), self._plan.quantized[name])

    def _lift_bias(self, copy: onnx.NodeProto, node: onnx.NodeProto) -> None:
        """Gives the constant of an Add as many dimensions as the result has."""
        for i, name in enumerate(node.input):
            if self._index.is_constant(name):
                values = self._index.weight(name)
                shape = [1] * (self._plan.lifted[node.name] - values.ndim) + list(values.shape)
                copy.input[i] = self._writer.constant(node.name, "bias", values.reshape(shape))

    def _write_weight(self, copy: onnx.NodeProto, node: onnx.NodeProto, unit: Unit) -> None:
        weight, bias = self._weight(unit), self._bias(unit)
        input_scale, _ = self._grids.of(self._plan.quantized[node.input[0]])
        if bias is not None and weight.block_size is None:
            over = overflowing_channels(bias, input_scale, weight.scales)
            weight = self._weights.widened(unit, weight, over, bias, input_scale)
        copy.input[1] = self._form.constant(unit.name, "weight", weight)
        if bias is None:
            return
        if weight.block_size is None:
            integers, scales = integer_bias(bias, input_scale, weight.scales)
            whole = QuantizedWeight(integers, scales, np.zeros((), np.int32), 0 if scales.ndim else None)
            name = self._form.constant(unit.name, "bias", whole, zero_points=False)
        else:  # no integer kernel has blocks, and no single scale fits the bias
            name = self._writer.constant(unit.name, "bias", bias)
        if len(copy.input) > 2:
            copy.input[2] = name
        else:
            copy.input.append(name)

    def _bias(self, unit: Unit) -> npt.NDArray[np.float32] | None:
        if unit.name in self._biases:
            return np.asarray(self._biases[unit.name], np.float32)
        return None if unit.bias is None else self._index.weight(unit.bias).astype(np.float32)

    def _write_constant_operands(self, copy: onnx.NodeProto, node: onnx.NodeProto) -> None:
        scheme = self._grids.scheme
        for i, name in enumerate(node.input):
            if name and self._index.is_constant(name):
                values = self._index.weight(name).astype(np.float32)
                scale, zero_point = quantization_parameters(
                    min(float(values.min()), 0.0), max(float(values.max()), 0.0), scheme
                )
                operand = QuantizedWeight(
                    quantize(values, scale, zero_point, scheme),
                    np.array(scale, np.float32),
                    np.array(zero_point, scheme.storage),
                    None,
                )
                copy.input[i] = self._form.constant(node.name, f"operand{i}", operand)

    def _assemble(self) -> onnx.ModelProto:
        graph = self._model.graph
        used = {name for node in self._writer.nodes for name in names_read(node)} | self._index.outputs
        result = onnx.ModelProto()
        for name in ("ir_version", "producer_name", "domain", "model_version"):
            if self._model.HasField(name):
                setattr(result, name, getattr(self._model, name))
        result.opset_import.extend(self._model.opset_import)
        imported = {opset.domain for opset in result.opset_import}
        result.opset_import.extend(
            onnx.helper.make_opsetid(domain, 1) for domain in sorted(self._writer.domains - imported)
        )
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
        return self._stored(result)

    def _stored(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """Weights in as few bytes as they need."""
        half = self._stored_in_half()
        if self._simulate:
            for weight in model.graph.initializer:
                if weight.name in half and fits_half(weight):
                    weight.CopyFrom(rounded_to_half(weight))
            return model
        if self._writer.recent:
            model = raise_opset(model, _RECENT_OPSET)
            pack_four_bits(model, self._writer.four_bits)
        store_half(model, half)
        return model

    def _stored_in_half(self) -> frozenset[str]:
        if self._config.float_storage == "float16":
            return frozenset(self._index.initializers)
        units = [u for u in self._plan.float_activation_units if self._plan.precisions[u.name] == FP16_WEIGHTS]
        return frozenset(name for unit in units for name in (unit.weight, unit.bias) if name)
