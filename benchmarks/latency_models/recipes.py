"""From the name of a recipe to the precision of every unit of a model, and to the candidate.

| recipe | what becomes of the regions |
| --- | --- |
| `float` | nothing is quantized |
| `int8`, `int8_signed` | all are int8 (uint8 or int8 activations) |
| `front:S`, `back:S` | the first, or last, share S is int8 |
| `inner` | all but the first and the last are int8 |
| `weighted` | regions with weights are int8, what joins them stays float |
| `alternate` | every other one is int8 |
| `random:S:SEED` | each is int8 with probability S |
| `dynamic` | every matrix product is quantized at run time, all else stays float |
| `dynamic_front:S` | the same for the first share S |
| `dynamic_mixed:S:SEED` | everything is int8, matrix products at run time with probability S |

Ranges do not change what a kernel costs, so any will do; a fused activation is absorbed only where its range begins at
zero.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import onnx

from autocompress.api.variants import any_ranges
from autocompress.errors import NothingToCompress
from autocompress.passes.quantize import FP32, INT8, INT8_DYNAMIC, QuantizeConfig, Unit
from autocompress.recipe.builder import CandidateBuilder
from autocompress.recipe.recipe import FrozenRecipe, Recipe
from autocompress.search.regions import Region, find_regions


def candidate(builder: CandidateBuilder, recipe: str) -> onnx.ModelProto:
    """What a recipe other than ``float`` makes of a model.

    Raises:
        NothingToCompress: when the runtime has no integer kernel, or no dynamic one, for any operator of the model.
        ValueError: for a recipe that does not exist.
    """
    units = builder.quantizer.units
    if not units:
        raise NothingToCompress("the model has no operator that this runtime can run in int8")
    if recipe.startswith("dynamic") and not any(INT8_DYNAMIC in u.options for u in units):
        raise NothingToCompress("the model has no product that this runtime can quantize at run time")
    config = QuantizeConfig(activation_dtype="int8" if recipe == "int8_signed" else "uint8")
    config = config.with_precisions(precisions(recipe, units))
    return builder.build(
        FrozenRecipe(Recipe(config), builder.fingerprint, builder.runtime, {"quantize": any_ranges(builder)})
    )


def precisions(recipe: str, units: Sequence[Unit]) -> dict[str, str]:
    """Precision of each unit under a recipe.

    Raises:
        ValueError: for a recipe that does not exist.
    """
    kind, *numbers = recipe.split(":")
    share = float(numbers[0]) if numbers else 1.0
    draw = random.Random(int(numbers[1]) if len(numbers) > 1 else 0)
    if kind.startswith("dynamic"):
        return _dynamic_precisions(kind, share, draw, units)
    regions = find_regions(units)
    chosen = {r.name for i, r in enumerate(regions) if _becomes_int8(kind, i, len(regions), share, draw, r)}
    return {
        unit: precision
        for region in regions
        for unit, precision in region.precisions(INT8 if region.name in chosen else FP32).items()
    }


def _becomes_int8(kind: str, position: int, count: int, share: float, draw: random.Random, region: Region) -> bool:
    if kind in ("int8", "int8_signed"):
        return True
    if kind == "front":
        return position < share * count
    if kind == "back":
        return position >= (1 - share) * count
    if kind == "inner":
        return 0 < position < count - 1
    if kind == "weighted":
        return region.main.weight is not None
    if kind == "alternate":
        return position % 2 == 1
    if kind == "random":
        return draw.random() < share
    raise ValueError(f"there is no recipe {kind!r}")


def _dynamic_precisions(kind: str, share: float, draw: random.Random, units: Sequence[Unit]) -> dict[str, str]:
    able = [u.name for u in units if INT8_DYNAMIC in u.options]
    if kind == "dynamic_mixed":
        chosen = {name for name in able if draw.random() < share}
        return {u.name: INT8_DYNAMIC if u.name in chosen else INT8 for u in units}
    chosen = set(able[: round(share * len(able))])
    return {u.name: INT8_DYNAMIC if u.name in chosen else FP32 for u in units}
