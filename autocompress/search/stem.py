"""What a search knows about one stem: the float model that quantized candidates are made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from autocompress.passes.quantize import Unit
from autocompress.recipe.builder import CandidateBuilder
from autocompress.recipe.recipe import Recipe
from autocompress.search.equalizations import NONE
from autocompress.search.regions import Region, find_regions

if TYPE_CHECKING:
    from autocompress.search.encoding import Encoding
    from autocompress.search.prices import LatencyPrices
    from autocompress.search.proposals import Scorer
    from autocompress.search.screening import Screened


@dataclass(eq=False)
class StemState:
    """One stem; the first of every search is the original, folded.

    Attributes:
        builder: finds the units of the stem's model.
        recipe: the steps that make the stem.
        elements: tensor -> number of elements, at the shapes that count.
        prices: additive latency prices, corrected by what was measured so far.
        probed_prices: the same as they came from the probes; None until something was measured.
        encoding: parameters of the space.
        in_play: parameter -> values still in play after screening.
        equalizations: those of the space that do something to this model; "none" is always among them.
        screened: whole-model schemes by damage, best first.
        refined: schemes on one candidate with a precision for each region, best first.
        scheme: the scheme with which regions are measured and assigned one by one.
        damage: of shape (regions, options); sensitivities.
        fastest: option per region of the fastest assignment, by the prices.
        sensitivity_measured: whether ``damage`` was measured unit by unit.
        scorer: predictors of drop and latency.
        out_of_reach: whether the target is faster than anything that the prices of this stem allow; the fastest
            feasible model is sought then.
    """

    builder: CandidateBuilder
    recipe: Recipe = field(default_factory=Recipe)
    elements: dict[str, int] = field(default_factory=dict)
    prices: LatencyPrices | None = None
    probed_prices: LatencyPrices | None = None
    encoding: Encoding | None = None
    in_play: dict[str, tuple[object, ...]] = field(default_factory=dict)
    equalizations: tuple[str, ...] = (NONE,)
    screened: list[Screened] = field(default_factory=list)
    refined: list[Screened] = field(default_factory=list)
    scheme: Recipe | None = None
    damage: npt.NDArray[np.float64] | None = None
    fastest: tuple[int, ...] = ()
    sensitivity_measured: bool = False
    scorer: Scorer | None = None
    out_of_reach: bool = False

    @property
    def units(self) -> tuple[Unit, ...]:
        """The units of the model."""
        return self.builder.quantizer.units

    @cached_property
    def regions(self) -> tuple[Region, ...]:
        """The units, grouped by what is chosen together."""
        return find_regions(self.units)
