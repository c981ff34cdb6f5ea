"""Quantizes one prepared model under many configurations, sharing everything that configurations have in common."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx

from autocompress.calibration.ranges import compute_range
from autocompress.calibration.statistics import Statistics
from autocompress.errors import RecipeError
from autocompress.graph.index import GraphIndex
from autocompress.passes.quantize.bias import corrected_bias
from autocompress.passes.quantize.config import FP32, INT8, QuantizeConfig
from autocompress.passes.quantize.emit import QdqEmitter
from autocompress.passes.quantize.plan import Plan, make_plan
from autocompress.passes.quantize.units import Unit, find_units
from autocompress.passes.quantize.weights import WeightQuantizer, channel_axis, conv_groups
from autocompress.runtimes.protocol import QuantizationRules

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class QuantizePayload:
    """What a configuration took from the data: with it, the same bytes can be made again without data.

    Attributes:
        ranges: tensor -> (low, high).
        biases: unit -> corrected bias, float32 of shape (output channels,).
    """

    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    biases: dict[str, FloatArray] = field(default_factory=dict)


class Quantizer:
    """Finds the units of a normalized, folded model and quantizes it.

    Attributes:
        units: every unit, in graph order.
    """

    def __init__(self, model: onnx.ModelProto, rules: QuantizationRules, float_tensors: frozenset[str]) -> None:
        self._model = model
        self._rules = rules
        self._index = GraphIndex(model)
        self.units: tuple[Unit, ...] = find_units(self._index, rules, float_tensors)
        self._weights = WeightQuantizer(self._index)
        self._statistics: Statistics | None = None
        self._ranges: dict[tuple[str, str, str, bool], tuple[float, float]] = {}
        self._biases: dict[tuple[str, str, str, str], FloatArray | None] = {}

    @property
    def tensors(self) -> tuple[str, ...]:
        """Activation tensors whose statistics a calibration pass must collect."""
        names = [name for unit in self.units for name in (*unit.inputs, unit.output)]
        return tuple(dict.fromkeys(names))

    def precisions(self, config: QuantizeConfig) -> dict[str, str]:
        """The precision of each unit; a unit that cannot have the one asked for by default stays fp32.

        So does one that has no integer kernel under the scheme's zero points, whoever asks for it.

        Raises:
            RecipeError: when an exception names an unknown unit or a precision that the unit cannot have.
        """
        known = {unit.name: unit for unit in self.units}
        for name, precision in config.exceptions:
            if name not in known:
                raise RecipeError(f"quantize step names the unit {name!r}, which this model does not have")
            if precision not in known[name].options:
                raise RecipeError(f"quantize step: unit {name!r} ({known[name].op_type}) cannot be {precision}")
        chosen = dict(config.exceptions)
        found = {
            unit.name: chosen.get(unit.name, config.precision if config.precision in unit.options else FP32)
            for unit in self.units
        }
        if config.activation_dtype == "int8" and config.activation_symmetric:
            return found
        return {
            unit.name: FP32 if found[unit.name] == INT8 and self._needs_centre(unit) else found[unit.name]
            for unit in self.units
        }

    def _needs_centre(self, unit: Unit) -> bool:
        return unit.op_type in self._rules.centred_ops and not (unit.op_type == "MatMul" and unit.weight is not None)

    def plan(self, config: QuantizeConfig) -> Plan:
        """Where Quantize/Dequantize pairs will stand."""
        return make_plan(self._index, self.units, self.precisions(config), self._rules)

    def resolve(self, config: QuantizeConfig, statistics: Statistics) -> QuantizePayload:
        """Takes ranges and bias corrections from calibration statistics.

        Raises:
            RecipeError: when a tensor that the plan needs has no statistics.
        """
        if statistics is not self._statistics:
            self._statistics = statistics
            self._ranges.clear()
            self._biases.clear()
        plan = self.plan(config)
        ranges = {tensor: self._range(tensor, config, statistics) for tensor in plan.range_tensors}
        biases = self._corrections(config, plan, statistics) if config.bias_correction else {}
        return QuantizePayload(ranges, biases)

    def emit(self, config: QuantizeConfig, payload: QuantizePayload) -> onnx.ModelProto:
        """The quantized model.

        Raises:
            RecipeError: when the payload lacks a range that the plan needs, or a bias does not fit its unit.
        """
        plan = self.plan(config)
        self._check_biases(plan, payload)
        missing = [tensor for tensor in plan.range_tensors if tensor not in payload.ranges]
        if missing:
            raise RecipeError(
                f"the recipe carries no range for {len(missing)} tensors (first: {missing[0]!r}); "
                "give --data to find them"
            )
        emitter = QdqEmitter(self._model, self._index, config, plan, self._weights, payload.ranges, payload.biases)
        return emitter.emit()

    def _range(self, tensor: str, config: QuantizeConfig, statistics: Statistics) -> tuple[float, float]:
        key = (tensor, config.activation_range, config.activation_dtype, config.activation_symmetric)
        if key not in self._ranges:
            if tensor not in statistics:
                raise RecipeError(f"no calibration statistics for tensor {tensor!r}; collect them for this model first")
            found = compute_range(
                statistics[tensor],
                config.activation_range,
                bits=8,
                symmetric=config.activation_symmetric,
                signed=config.activation_dtype == "int8",
            )
            self._ranges[key] = (float(found.low), float(found.high))
        return self._ranges[key]

    def _corrections(self, config: QuantizeConfig, plan: Plan, statistics: Statistics) -> dict[str, FloatArray]:
        found: dict[str, FloatArray] = {}
        for unit in plan.int8_units:
            key = (unit.name, config.weight_dtype, config.weight_granularity, config.weight_range)
            if key not in self._biases:
                self._biases[key] = self._correction(unit, config, statistics)
            bias = self._biases[key]
            if bias is not None:
                found[unit.name] = bias
        return found

    def _correction(self, unit: Unit, config: QuantizeConfig, statistics: Statistics) -> FloatArray | None:
        # MatMul has no bias operand to correct.
        if (
            unit.weight is None
            or unit.op_type not in ("Conv", "ConvTranspose", "Gemm")
            or unit.inputs[0] not in statistics
        ):
            return None
        means = statistics[unit.inputs[0]].channel_mean
        error = self._weights.rounding_error(unit, self._weights.quantized(unit, config))
        groups = conv_groups(self._index.nodes[unit.name])
        if means is None or means.shape != (groups * error.shape[1],):
            return None
        bias = None if unit.bias is None else self._index.weight(unit.bias).astype(np.float32)
        return corrected_bias(bias, error, means, groups)

    def _check_biases(self, plan: Plan, payload: QuantizePayload) -> None:
        for unit in plan.int8_units:
            if unit.name not in payload.biases or unit.weight is None:
                continue
            channels = self._index.initializers[unit.weight].dims[channel_axis(self._index.nodes[unit.name])]
            bias = payload.biases[unit.name]
            if bias.shape != (channels,) or not np.isfinite(bias).all():
                raise RecipeError(
                    f"the recipe's bias for unit {unit.name!r} is not {channels} finite numbers; "
                    "give the recipe as it was written"
                )
