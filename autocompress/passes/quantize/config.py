"""What a quantization step does, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from autocompress.calibration.ranges import ALGORITHMS
from autocompress.calibration.ranges.percentile import USUAL_PERCENTILE, check_percentile
from autocompress.errors import ConfigError, RecipeError
from autocompress.passes.config_rows import refuse_unknown, with_pairs
from autocompress.passes.quantize.precisions import INT8, PRECISIONS


@dataclass(frozen=True)
class QuantizeConfig:
    """Configuration of post-training quantization.

    Attributes:
        activation_dtype: "uint8" or "int8"; "uint16" or "int16" where 8 bits lose too much (no stock CPU kernel
            computes with those, so such models are for simulation).
        activation_symmetric: zero point in the middle of the grid.
        activation_range: range algorithm for activations (see ``autocompress.calibration.ranges``).
        weight_dtype: "int8" or "int4" (symmetric), "uint8" or "uint4" (asymmetric).
        weight_granularity: "per_channel", "per_tensor" or "per_block" (no integer kernel computes with the last).
        weight_range: range algorithm for weights.
        bias_correction: whether the mean shift that weight rounding causes is taken off the bias.
        precision: precision of every unit that ``exceptions`` does not name.
        exceptions: (unit name, precision) pairs where the precision is another, sorted by name.
        product_results: "int8", or "float" for products with a constant matrix, and the Add of a bias behind them, that
            write float wherever the runtime can.
        scope: which units may be int8: "all", or only those with weights ("weighted"), whatever ``exceptions`` say.
        float_ends: which units with weights stay fp32, whatever ``exceptions`` say: "none", the "first", the "last" or
            "both".
        block_size: weights that share a scale, along the inputs of an output channel, wherever there are blocks.
        weight_only_symmetric: whether weights of weight-only units have their zero point in the middle.
        weight_only_activations: "float32", or "int8" where the runtime may quantize them on the fly for speed.
        float_storage: "float32", or "float16" to store all weights that stay float in half the bytes.
        activation_percentile: share of an activation's values, in percent, that the range algorithm "percentile" keeps
            inside the range; the usual one with every other algorithm.

    Raises:
        RecipeError: when a field has a value that it cannot have.
    """

    activation_dtype: str = "uint8"
    activation_symmetric: bool = False
    activation_range: str = "min_max"
    weight_dtype: str = "int8"
    weight_granularity: str = "per_channel"
    weight_range: str = "abs_max"
    bias_correction: bool = True
    precision: str = INT8
    exceptions: tuple[tuple[str, str], ...] = field(default=())
    product_results: str = "int8"
    scope: str = "all"
    float_ends: str = "none"
    block_size: int = 32
    weight_only_symmetric: bool = True
    weight_only_activations: str = "float32"
    float_storage: str = "float32"
    activation_percentile: float = USUAL_PERCENTILE

    def __post_init__(self) -> None:
        for field_name, allowed in _ALLOWED.items():
            value = getattr(self, field_name)
            # 1 equals True, but a recipe with 1 would have another hash.
            if value not in allowed or type(value) is not type(allowed[0]):
                raise RecipeError(
                    f"quantize step: {field_name} is {value!r}; it must be one of {', '.join(map(str, allowed))}"
                )
        for unit, precision in self.exceptions:
            if precision not in PRECISIONS:
                raise RecipeError(
                    f"quantize step: precision of {unit!r} is {precision!r}; it must be one of {', '.join(PRECISIONS)}"
                )
        object.__setattr__(self, "activation_percentile", self._percentile())
        # Exceptions that are none are left out, so that equal choices have equal hashes.
        real = {unit: precision for unit, precision in dict(self.exceptions).items() if precision != self.precision}
        object.__setattr__(self, "exceptions", tuple(sorted(real.items())))

    def _percentile(self) -> float:
        """The percentile as a number, the same for all choices that it makes no difference to."""
        try:
            check_percentile(self.activation_percentile)
        except ConfigError as error:
            raise RecipeError(f"quantize step, activation_percentile: {error}") from error
        return float(self.activation_percentile) if self.activation_range == "percentile" else USUAL_PERCENTILE

    def precision_of(self, unit: str) -> str:
        """The precision asked for one unit."""
        return dict(self.exceptions).get(unit, self.precision)

    def with_precisions(self, precisions: Mapping[str, str]) -> QuantizeConfig:
        """The same scheme with the given precision per unit (all others keep ``precision``)."""
        return replace(self, exceptions=tuple(precisions.items()))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; a choice that older versions did not have is left out where it has its default."""
        row = {**asdict(self), "exceptions": dict(self.exceptions)}
        return {f.name: row[f.name] for f in fields(self) if f.name not in _ADDED or getattr(self, f.name) != f.default}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> QuantizeConfig:
        """Inverse of ``to_dict``.

        Raises:
            RecipeError: on an unknown field or value.
        """
        refuse_unknown(cls, row, "quantize")
        return cls(**with_pairs(row, "exceptions", "quantize", "unit names to precisions"))


_ALLOWED: dict[str, tuple[object, ...]] = {
    "activation_dtype": ("uint8", "int8", "uint16", "int16"),
    "activation_symmetric": (True, False),
    "activation_range": tuple(ALGORITHMS),
    "weight_dtype": ("int8", "uint8", "int4", "uint4"),
    "weight_granularity": ("per_channel", "per_tensor", "per_block"),
    "weight_range": tuple(ALGORITHMS),
    "bias_correction": (True, False),
    "precision": PRECISIONS,
    "product_results": ("int8", "float"),
    "scope": ("all", "weighted"),
    "float_ends": ("none", "first", "last", "both"),
    "block_size": (32, 64, 128),
    "weight_only_symmetric": (True, False),
    "weight_only_activations": ("float32", "int8"),
    "float_storage": ("float32", "float16"),
}
_ADDED = frozenset(
    {
        "activation_percentile",
        "block_size",
        "float_ends",
        "float_storage",
        "product_results",
        "scope",
        "weight_only_activations",
        "weight_only_symmetric",
    }
)
