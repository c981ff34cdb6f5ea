"""Rounding in floating point, for judging accuracy where no kernel is at hand (4-bit weights, 16-bit activations).

    y = (clip(round(x / s) + z, lowest, highest) - z) * s

written as six float operators, so that no runtime takes it for a Quantize; weights and biases are stored as the real
numbers that their integers stand for.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from autocompress.calibration.scheme import MINIMUM_SCALE, FloatArray, dequantize
from autocompress.passes.quantize.grids import ActivationGrids
from autocompress.passes.quantize.weights import QuantizedWeight
from autocompress.passes.quantize.writer import GraphWriter


class SimulatedForm:
    """Writes what is rounded as float arithmetic; the counterpart of ``DeployedForm``, method by method."""

    def __init__(self, writer: GraphWriter, grids: ActivationGrids) -> None:
        self._writer = writer
        self._grids = grids
        self._rounded: dict[str, str] = {}
        self._parameters: dict[str, tuple[str, str]] = {}

    def activation(self, source: str, name: str, result: str, root: str) -> None:
        """Rounds ``source``, tensor ``name`` of the float model, to the grid of ``root`` and calls it ``result``."""
        if root not in self._parameters:
            parts = zip(("scale", "zero_point"), self._grids.of(root), strict=True)
            scale, zero = (self._writer.constant(root, part, np.array(value, np.float32)) for part, value in parts)
            self._parameters[root] = scale, zero
        scheme = self._grids.scheme
        self._round(name, source, result, *self._parameters[root], (scheme.dtype_min, scheme.qmax))
        self._rounded[name] = result

    def per_channel(self, name: str, root: str, axis: int, channels: int) -> str:
        """The rounded tensor: float arithmetic has the same scale for every channel anyway."""
        return self._rounded[name]

    def constant(self, owner: str, part: str, weight: QuantizedWeight, *, zero_points: bool = True) -> str:
        """Writes the real numbers that integers stand for; returns their name."""
        return self._writer.constant(owner, f"{part}_rounded", _real(weight, zero_points=zero_points))

    def table(self, node: onnx.NodeProto, ids: str, weight: QuantizedWeight) -> None:
        """Picks rows of the rounded table."""
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[0], copy.input[1] = self.constant(node.name, "table", weight), ids
        self._writer.nodes.append(copy)

    def dynamic(self, node: onnx.NodeProto, source: str, weight: QuantizedWeight) -> None:
        """Rounds the activation to 8 bits between its own extremes, then multiplies."""
        rounded = self._rounded.get(f"{source} dynamic") or self._round_dynamically(source)
        self._rounded[f"{source} dynamic"] = rounded
        self._product(node, rounded, weight)

    def weight_only(self, node: onnx.NodeProto, source: str, weight: QuantizedWeight, *, activations: str) -> None:
        """Multiplies with the rounded matrix; what a kernel may do to activations on the fly is left out."""
        self._product(node, source, weight)

    def _product(self, node: onnx.NodeProto, source: str, weight: QuantizedWeight) -> None:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[0] = source
        copy.input[1] = self.constant(node.name, "weight", weight)
        self._writer.nodes.append(copy)

    def _round(self, name: str, source: str, result: str, scale: str, zero: str, bounds: tuple[int, int]) -> None:
        write = self._writer
        low, high = (write.constant(name, f"bound{i}", np.array(v, np.float32)) for i, v in enumerate(bounds))
        chain: list[tuple[str, list[str]]] = [
            ("Div", [scale]), ("Round", []), ("Add", [zero]), ("Clip", [low, high]), ("Sub", [zero]), ("Mul", [scale]),
        ]  # fmt: skip
        for i, (op_type, operands) in enumerate(chain):
            target = result if i == len(chain) - 1 else write.name(name, f"step{i}")
            write.node(op_type, [source, *operands], [target], write.name(name, f"{op_type.lower()}_rounding"))
            source = target

    def _round_dynamically(self, source: str) -> str:
        """What DynamicQuantizeLinear and its inverse do."""
        write = self._writer

        def op(op_type: str, inputs: list[str], part: str) -> str:
            result = write.name(source, f"dynamic_{part}")
            attributes = {"keepdims": 0} if op_type.startswith("Reduce") else {}
            write.node(op_type, inputs, [result], write.name(source, f"dynamic_{part}_node"), **attributes)
            return result

        def number(value: float, part: str) -> str:
            return write.constant(source, f"dynamic_{part}", np.array(value, np.float32))

        nothing, levels = number(0.0, "nothing"), number(255.0, "levels")
        low = op("Min", [op("ReduceMin", [source], "smallest"), nothing], "low")
        high = op("Max", [op("ReduceMax", [source], "largest"), nothing], "high")
        step = op("Div", [op("Sub", [high, low], "width"), levels], "step")
        scale = op("Max", [step, number(MINIMUM_SCALE, "least_step")], "scale")
        ratio = op("Div", [op("Neg", [low], "depth"), scale], "ratio")
        zero = op("Clip", [op("Round", [ratio], "rounded_ratio"), nothing, levels], "zero")
        result = write.name(source, "dynamic_rounded")
        self._round(f"{source}_dynamic", source, result, scale, zero, (0, 255))
        return result


def rounded_to_half(weight: onnx.TensorProto) -> onnx.TensorProto:
    """The weight with every number rounded to half precision, still stored as float32."""
    values = numpy_helper.to_array(weight).astype(np.float16).astype(np.float32)
    return numpy_helper.from_array(values, weight.name)


def _real(weight: QuantizedWeight, *, zero_points: bool) -> FloatArray:
    if zero_points:
        return dequantize(weight.values, weight.scales, weight.zero_points, weight.scheme)
    product: FloatArray = (weight.values.astype(np.float64) * weight.scales.astype(np.float64)).astype(np.float32)
    return product
