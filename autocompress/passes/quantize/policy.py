"""What the choices of a configuration mean for each unit of a model, and what the runtime makes of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from autocompress.passes.quantize.config import QuantizeConfig
from autocompress.passes.quantize.precisions import FP32, INT8, INT8_DYNAMIC
from autocompress.passes.quantize.units import Unit
from autocompress.runtimes.protocol import QuantizationRules

_STORED_AS = {"int4": "int8", "uint4": "uint8"}  # four bits are read as eight by integer kernels


class Policy:
    """Precisions after everything that overrules what was asked for."""

    def __init__(
        self,
        units: Sequence[Unit],
        rules: QuantizationRules,
        *,
        biases: Callable[[], Mapping[str, str]],
        behind_concats: Collection[str],
        unsigned: Collection[str],
    ) -> None:
        """Stores what is needed.

        Args:
            units: of the model.
            rules: of the runtime.
            biases: gives the Adds whose product may write float, by name -> unit of the product.
            behind_concats: units that have an integer kernel only on a grid whose zero point is zero, because of the
                Concat that they read (see ``concats``).
            unsigned: units that the runtime computes wrongly from int8 activations.
        """
        self._units = units
        self._rules = rules
        self._biases = biases
        self._behind_concats = behind_concats
        self._unsigned = unsigned

    def applied(self, config: QuantizeConfig, asked: Mapping[str, str]) -> dict[str, str]:
        """The precision of each unit.

        Args:
            config: its policies count.
            asked: unit name -> precision as asked for.
        """
        found = dict(asked)
        for unit in self._units:
            if found[unit.name] == INT8 and (self._out_of_scope(unit, config) or not self._is_right(unit, config)):
                found[unit.name] = FP32
        found.update(dict.fromkeys(self._float_ends(config), FP32))
        if config.product_results == "float" and self._rules.lifted_bias:
            for bias, product in self._biases().items():
                if bias in found and found[product] == INT8:
                    found[bias] = FP32
        return found

    def options(self, unit: Unit, config: QuantizeConfig) -> tuple[str, ...]:
        """The precisions of a unit that the runtime has a use for under the scheme of a configuration."""
        if unit.is_table:
            return unit.all_options
        usable = {FP32, *unit.storage_options}
        if self._is_right(unit, config) and self._has_kernel(unit, config):
            usable.add(INT8)
        if self._weights_fit(unit, config):
            usable.add(INT8_DYNAMIC)
        return tuple(option for option in unit.all_options if option in usable)

    def _has_kernel(self, unit: Unit, config: QuantizeConfig) -> bool:
        fits = unit.weight is None or (self._weights_fit(unit, config) and config.weight_granularity != "per_block")
        return fits and config.activation_dtype in self._rules.activation_dtypes

    def _weights_fit(self, unit: Unit, config: QuantizeConfig) -> bool:
        stored = _STORED_AS.get(config.weight_dtype, config.weight_dtype)
        return unit.weight is not None and stored in self._rules.weight_dtypes

    def _is_right(self, unit: Unit, config: QuantizeConfig) -> bool:
        """Whether the runtime computes a unit rightly in the integers of a scheme, or at all."""
        signed = config.activation_dtype == "int8"
        return not (self._needs_centre(unit, config) or (signed and unit.name in self._unsigned))

    def _needs_centre(self, unit: Unit, config: QuantizeConfig) -> bool:
        if config.activation_dtype in ("int8", "int16") and config.activation_symmetric:
            return False
        if unit.name in self._behind_concats:
            return True
        return unit.op_type in self._rules.centred_ops and not (unit.op_type == "MatMul" and unit.weight is not None)

    def _out_of_scope(self, unit: Unit, config: QuantizeConfig) -> bool:
        return config.scope == "weighted" and unit.weight is None

    def _float_ends(self, config: QuantizeConfig) -> list[str]:
        """Weighted units at the ends of the model, in graph order, that are to stay float."""
        weighted = [unit.name for unit in self._units if unit.weight is not None and not unit.is_table]
        ends = {"none": [], "first": weighted[:1], "last": weighted[-1:], "both": [*weighted[:1], *weighted[-1:]]}
        return ends[config.float_ends]
