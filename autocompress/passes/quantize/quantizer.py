"""Quantizes one prepared model under many configurations, sharing everything that configurations have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import onnx

from autocompress.calibration.ranges import compute_range
from autocompress.calibration.scheme import Scheme
from autocompress.calibration.statistics import Statistics
from autocompress.errors import RecipeError
from autocompress.graph.index import GraphIndex
from autocompress.graph.inference import declared_shapes, infer_shapes
from autocompress.graph.specs import Size
from autocompress.passes.quantize.bias import corrected_bias
from autocompress.passes.quantize.concats import behind_concats, unsigned_behind_concats
from autocompress.passes.quantize.config import QuantizeConfig
from autocompress.passes.quantize.emit import QdqEmitter
from autocompress.passes.quantize.lifting import liftable_biases
from autocompress.passes.quantize.padding import pad_channels, worth_padding
from autocompress.passes.quantize.phases import Phases, read_phases, worth_phases
from autocompress.passes.quantize.plan import Plan, make_plan
from autocompress.passes.quantize.policy import Policy
from autocompress.passes.quantize.precisions import FP32, INT8
from autocompress.passes.quantize.units import Unit, find_units
from autocompress.passes.quantize.weights import (
    QuantizedWeight,
    WeightQuantizer,
    channel_axis,
    conv_groups,
    weight_scheme,
)
from autocompress.runtimes.protocol import QuantizationRules

FloatArray = npt.NDArray[np.float32]

CORRECTED = ("Conv", "ConvTranspose", "Gemm")
"""Operators whose bias is corrected; a MatMul has none."""
_EIGHT_BITS = ("int8", "uint8")


@dataclass(frozen=True, eq=False)
class QuantizePayload:
    """What a configuration took from the data: with it, the same bytes can be made again without data.

    Attributes:
        ranges: tensor -> (low, high).
        biases: unit -> corrected bias, float32 of shape (output channels,).
        integers: weight -> integers that take the place of the nearest ones, from reconstruction: of the weight's
            shape, on the grid of the configuration, 4-bit ones held one per byte.
    """

    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    biases: dict[str, FloatArray] = field(default_factory=dict)
    integers: dict[str, npt.NDArray[np.generic]] = field(default_factory=dict)


class Quantizer:
    """Finds the units of a normalized, folded model and quantizes it.

    Attributes:
        units: every unit, in graph order.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        rules: QuantizationRules,
        float_tensors: frozenset[str],
        stay_float: frozenset[str] = frozenset(),
    ) -> None:
        """Finds the units.

        Args:
            model: normalized and folded.
            rules: what the runtime fuses.
            float_tensors: names of the float32 tensors and weights.
            stay_float: names of nodes that are no units of their own, though they could be.
        """
        self._model = model
        self._rules = rules
        self._index = GraphIndex(model)
        found = find_units(self._index, rules, float_tensors)
        self.units: tuple[Unit, ...] = tuple(unit for unit in found if unit.name not in stay_float)
        self._weights = WeightQuantizer(self._index, partial_blocks=rules.weight_only_form == "matmul_nbits")
        self._statistics: Statistics | None = None
        self._ranges: dict[tuple[str, str, float, str, bool], tuple[float, float]] = {}
        self._biases: dict[tuple[str, Scheme, str], FloatArray | None] = {}

    @property
    def rigid_results(self) -> frozenset[str]:
        """Operators whose integer kernels compute wrongly where the range of their result is a narrow one."""
        return frozenset(op_type for op_type, _, _ in self._rules.least_results)

    @property
    def tensors(self) -> tuple[str, ...]:
        """Activation tensors whose statistics a calibration pass must collect."""
        names = [name for unit in self.units if not unit.is_table for name in (*unit.inputs, unit.output)]
        return tuple(dict.fromkeys(names))

    def precisions(self, config: QuantizeConfig) -> dict[str, str]:
        """The precision of each unit; a unit that cannot have the one asked for by default stays fp32.

        So does one that has no integer kernel under the scheme's zero points, or that a policy of the configuration
        keeps in float, whoever asks for it.

        Raises:
            RecipeError: when an exception names an unknown unit or a precision that the unit cannot have.
        """
        known = {unit.name: unit for unit in self.units}
        for name, precision in config.exceptions:
            if name not in known:
                raise RecipeError(f"quantize step names the unit {name!r}, which this model does not have")
            if precision not in known[name].all_options:
                raise RecipeError(f"quantize step: unit {name!r} ({known[name].op_type}) cannot be {precision}")
        chosen = dict(config.exceptions)
        found = {
            unit.name: chosen.get(unit.name, config.precision if config.precision in unit.all_options else FP32)
            for unit in self.units
        }
        return self._policy.applied(config, found)

    def options(self, config: QuantizeConfig) -> dict[str, tuple[str, ...]]:
        """The precisions in which the runtime computes, or stores, each unit under a scheme, FP32 first.

        A configuration may ask for others (a simulation needs no kernel); they bring no speed.
        """
        return {unit.name: self._policy.options(unit, config) for unit in self.units}

    def quantized_weight(self, unit: Unit, config: QuantizeConfig) -> QuantizedWeight:
        """The integer weight that a unit gets under a configuration (before any widening for its bias).

        Args:
            unit: one with a weight, whose precision is in ``INTEGER_WEIGHTS``.
            config: the configuration.
        """
        return self._weights.quantized(unit, config, self.precisions(config)[unit.name])

    def plan(self, config: QuantizeConfig) -> Plan:
        """Where Quantize/Dequantize pairs will stand."""
        float_results = config.product_results == "float" and self._rules.lifted_bias
        lifted = {name: rank for name, (_, rank) in self._liftable.items()} if float_results else {}
        return make_plan(self._index, self.units, self.precisions(config), self._rules, lifted)

    @cached_property
    def _paddable(self) -> dict[str, tuple[int, ...]]:
        rule = self._rules.channel_padding
        return {} if rule is None else worth_padding(self._index, self.units, rule)

    @cached_property
    def _phased(self) -> dict[str, Phases]:
        rule = self._rules.channel_padding
        return {} if rule is None else worth_phases(self._index, self.units, rule, lambda: self._shapes)

    @cached_property
    def _liftable(self) -> dict[str, tuple[str, int]]:
        return liftable_biases(self._index, self.units, self._shapes)

    @cached_property
    def _policy(self) -> Policy:
        return Policy(
            self.units,
            self._rules,
            biases=lambda: {add: unit for add, (unit, _) in self._liftable.items()},
            behind_concats=behind_concats(self._index, self.units, self._rules, lambda: self._shapes),
            unsigned=unsigned_behind_concats(self._index, self.units, self._rules),
        )

    @cached_property
    def _shapes(self) -> Mapping[str, tuple[Size, ...]]:
        return declared_shapes(infer_shapes(self._model))

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
        ranges.update(self._widened(plan, ranges))
        biases = self._corrections(config, plan, statistics) if config.bias_correction else {}
        return QuantizePayload(ranges, biases)

    def emit(self, config: QuantizeConfig, payload: QuantizePayload, *, simulate: bool = False) -> onnx.ModelProto:
        """The quantized model.

        Args:
            config: the choices.
            payload: from ``resolve``.
            simulate: writes a float model that rounds as the deployable one does, instead of that.

        Raises:
            RecipeError: when the payload lacks a range that the plan needs, or a bias or weight does not fit its unit.
        """
        plan = self.plan(config)
        self._check_biases(plan, payload)
        missing = [tensor for tensor in plan.range_tensors if tensor not in payload.ranges]
        if missing:
            raise RecipeError(
                f"the recipe carries no range for {len(missing)} tensors (first: {missing[0]!r}); "
                "give --data to find them"
            )
        weights = self._weights.with_integers(payload.integers) if payload.integers else self._weights
        emitter = QdqEmitter(
            self._model,
            self._index,
            config,
            plan,
            weights,
            payload.ranges,
            payload.biases,
            self._rules,
            simulate=simulate,
        )
        return emitter.emit()

    def pad_channels(self, config: QuantizeConfig, emitted: onnx.ModelProto) -> None:
        """Lets convolutions of an emitted model read phases of their input, or zero channels more, in place.

        It does so where the runtime then computes faster.
        The model computes the same numbers.  This is the last that is done to it, so that whoever changes the numbers
        of the emitted model knows nothing of padding.

        Args:
            config: what the model was emitted with.
            emitted: from ``emit``, not simulated; its weights may have got other values since.
        """
        rule = self._rules.channel_padding
        fits = config.weight_dtype.startswith("int") and config.weight_granularity != "per_block"
        if (
            rule is None
            or not (self._paddable or self._phased)
            or not fits
            or config.activation_dtype not in _EIGHT_BITS
        ):
            return
        plan = self.plan(config)
        from_float = {unit.name for unit in plan.int8_units if unit.inputs[0] not in plan.produced}
        phased = from_float & self._phased.keys() if config.activation_dtype in rule.between else set()
        if phased:
            read_phases(emitted, {name: self._phased[name] for name in phased})
        added = {name: amounts for name, amounts in self._paddable.items() if name in from_float - phased}
        if added:
            pad_channels(emitted, added, rule)

    def _range(self, tensor: str, config: QuantizeConfig, statistics: Statistics) -> tuple[float, float]:
        percentile = config.activation_percentile
        key = (tensor, config.activation_range, percentile, config.activation_dtype, config.activation_symmetric)
        if key not in self._ranges:
            if tensor not in statistics:
                raise RecipeError(f"no calibration statistics for tensor {tensor!r}; collect them for this model first")
            found = compute_range(
                statistics[tensor],
                config.activation_range,
                bits=16 if config.activation_dtype.endswith("16") else 8,
                symmetric=config.activation_symmetric,
                signed=config.activation_dtype.startswith("int"),
                **({"percentile": percentile} if config.activation_range == "percentile" else {}),
            )
            self._ranges[key] = (float(found.low), float(found.high))
        return self._ranges[key]

    def _widened(self, plan: Plan, ranges: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        """Ranges of results whose kernels compute wrongly under narrower ones."""
        least = {op_type: (low, high) for op_type, low, high in self._rules.least_results}
        found: dict[str, tuple[float, float]] = {}
        for unit in plan.int8_units:
            if unit.op_type in least and unit.output in ranges:
                (low, high), (least_low, least_high) = ranges[unit.output], least[unit.op_type]
                found[unit.output] = (min(low, least_low), max(high, least_high))
        return found

    def _corrections(self, config: QuantizeConfig, plan: Plan, statistics: Statistics) -> dict[str, FloatArray]:
        found: dict[str, FloatArray] = {}
        for unit in (u for u in plan.int8_units if u.weight is not None):
            key = (unit.name, weight_scheme(self._index.nodes[unit.name], config, INT8), config.weight_range)
            if key not in self._biases:
                self._biases[key] = self._correction(unit, config, statistics)
            bias = self._biases[key]
            if bias is not None:
                found[unit.name] = bias
        return found

    def _correction(self, unit: Unit, config: QuantizeConfig, statistics: Statistics) -> FloatArray | None:
        if unit.weight is None or unit.op_type not in CORRECTED or unit.inputs[0] not in statistics:
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
