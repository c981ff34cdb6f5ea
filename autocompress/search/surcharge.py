"""What the choices of a scheme that cost time do to additive prices.

Most choices change numbers, not kernels.  Those that insert operators, or give the regions of one precision other
kernels, are priced once on a candidate where all regions that they concern have that precision: a surcharge.  Those
that change what is int8 at all, or what int8 kernels write, have prices of their own (``LatencyPrices.forms``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autocompress.passes.quantize import WEIGHT_ONLY
from autocompress.recipe.recipe import Recipe
from autocompress.search.equalizations import EQUALIZATION
from autocompress.search.features import scheme_value
from autocompress.search.prices import OPTIONS
from autocompress.search.regions import Region

FloatArray = npt.NDArray[np.float64]
Choice = tuple[str, object]

CONCERNS: dict[str, tuple[str, ...]] = {
    "block_size": WEIGHT_ONLY,
    "weight_only_activations": WEIGHT_ONLY,
}
"""Choice of the quantize step that changes kernels -> the precisions whose kernels it changes."""
FORM = ("product_results", "scope")
"""Choices of the quantize step that decide where int8 begins and ends."""
PRICED = (EQUALIZATION, *CONCERNS, *FORM)


@dataclass(frozen=True, eq=False)
class Surcharge:
    """What one value of a choice adds, which may be less than nothing.

    Attributes:
        fixed_us: to every recipe that has it.
        region_us: to each region in each option, of shape (regions, options).
    """

    fixed_us: float
    region_us: FloatArray | float = 0.0


def choices_of(recipe: Recipe) -> tuple[Choice, ...]:
    """The choices of a recipe that may have a surcharge."""
    return tuple((name, scheme_value(recipe, name)) for name in PRICED)


def spread_over(regions: Sequence[Region], name: str, region_us: FloatArray, total_us: float) -> FloatArray:
    """Shares a difference of the whole model out over the regions that a choice concerns, by what they cost.

    Args:
        regions: the regions.
        name: of the choice.
        region_us: their prices, of shape (regions, options).
        total_us: the difference, over all regions that can have one of its precisions.
    """
    shares = np.zeros(region_us.shape)
    for precision in CONCERNS[name]:
        option = OPTIONS.index(precision)
        concerned = np.array([precision in region.options and region.main.weight is not None for region in regions])
        cost = np.where(concerned & np.isfinite(region_us[:, option]), region_us[:, option], 0.0)
        shares[:, option] = cost / max(float(cost.sum()), 1e-9)
    return shares * total_us
