"""Rounding as deployed: QuantizeLinear and DequantizeLinear, which runtimes fuse into integer kernels."""

from __future__ import annotations

import numpy as np
import onnx

from autocompress.passes.quantize.dynamic import DynamicWriter
from autocompress.passes.quantize.grids import ActivationGrids
from autocompress.passes.quantize.tables import write_lookup
from autocompress.passes.quantize.weight_only import WEIGHT_ONLY_FORMS
from autocompress.passes.quantize.weights import QuantizedWeight
from autocompress.passes.quantize.writer import GraphWriter
from autocompress.runtimes.protocol import QuantizationRules


class DeployedForm:
    """Writes what is rounded in the form that runtimes compute in integers."""

    def __init__(self, writer: GraphWriter, grids: ActivationGrids, rules: QuantizationRules) -> None:
        self._writer = writer
        self._grids = grids
        self._dynamic = DynamicWriter(writer)
        self._write_weight_only = WEIGHT_ONLY_FORMS[rules.weight_only_form]
        self._names: dict[str, tuple[str, str]] = {}
        self._per_channel: set[tuple[str, int]] = set()

    def activation(self, source: str, name: str, result: str, root: str) -> None:
        """Rounds ``source``, tensor ``name`` of the float model, to the grid of ``root`` and calls it ``result``."""
        scale, zero_point = self._parameters(root)
        quantized = self._writer.name(name, "quantized")
        for op_type, before, after, part in (
            ("QuantizeLinear", source, quantized, "quantize"),
            ("DequantizeLinear", quantized, result, "dequantize"),
        ):
            self._writer.node(op_type, [before, scale, zero_point], [after], self._writer.name(name, part))

    def per_channel(self, name: str, root: str, axis: int, channels: int) -> str:
        """A rounded tensor, dequantized with one (and the same) scale for each channel."""
        result = self._writer.name(name, f"dequantized_axis{axis}")
        if (name, axis) not in self._per_channel:
            self._per_channel.add((name, axis))
            scale, zero_point = self._grids.of(root)
            zeros = np.full(channels, zero_point, self._grids.scheme.storage)
            inputs = [
                self._writer.name(name, "quantized"),
                self._writer.constant(name, f"scales_axis{axis}", np.full(channels, scale, np.float32)),
                self._writer.constant(name, f"zero_points_axis{axis}", zeros),
            ]
            node_name = self._writer.name(name, f"dequantize_axis{axis}")
            self._writer.node("DequantizeLinear", inputs, [result], node_name, axis=axis)
        return result

    def constant(self, owner: str, part: str, weight: QuantizedWeight, *, zero_points: bool = True) -> str:
        """Writes integers and their Dequantize; returns the name of the dequantized tensor.

        Args:
            owner: what the names start with.
            part: what the constant is to its owner.
            weight: the integers.
            zero_points: False leaves them out; they are then zero.
        """
        write = self._writer
        inputs = [
            write.constant(owner, f"{part}_quantized", weight.values),
            write.constant(owner, f"{part}_scale", weight.scales),
        ]
        if zero_points:
            inputs.append(write.constant(owner, f"{part}_zero_point", weight.zero_points))
        if weight.bits == 4:
            write.four_bits[inputs[0]] = "cast"
            write.recent = True
        attributes = {} if weight.axis is None else {"axis": weight.axis}
        if weight.block_size is not None:
            attributes["block_size"] = min(weight.block_size, weight.values.shape[attributes["axis"]])
            write.recent = True
        result = write.name(owner, f"{part}_dequantized")
        write.node("DequantizeLinear", inputs, [result], write.name(owner, f"{part}_dequantize"), **attributes)
        return result

    def table(self, node: onnx.NodeProto, ids: str, weight: QuantizedWeight) -> None:
        """Writes a Gather of rows of integers, picked by ``ids``."""
        write_lookup(self._writer, node, ids, weight)

    def dynamic(self, node: onnx.NodeProto, source: str, weight: QuantizedWeight) -> None:
        """Writes a product whose activation, now called ``source``, is quantized at run time."""
        self._dynamic.write(node, source, weight)

    def weight_only(self, node: onnx.NodeProto, source: str, weight: QuantizedWeight, *, activations: str) -> None:
        """Writes a product of the float tensor ``source`` with an integer matrix.

        Args:
            node: MatMul or Gemm of the float model.
            source: its activation.
            weight: its matrix.
            activations: "int8" where the kernel may round them on the fly.
        """
        self._write_weight_only(self._writer, node, source, weight, activations)

    def _parameters(self, root: str) -> tuple[str, str]:
        if root not in self._names:
            self._writer.recent |= self._grids.scheme.bits == 16
            scale, zero_point = self._grids.of(root)
            self._names[root] = (
                self._writer.constant(root, "scale", np.array(scale, np.float32)),
                self._writer.constant(root, "zero_point", np.array(zero_point, self._grids.scheme.storage)),
            )
        return self._names[root]
