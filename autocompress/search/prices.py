"""Latency prices: what each region costs in each precision, and what a change of precision costs between regions.

The price of a recipe is

    fixed + sum over regions of region_us[region, option] + sum over tensors of conversion cost where int8 meets float,

which is additive over regions and over tensors, so that thousands of recipes are priced at once and integer
programming can use the same numbers.  Region prices come from probes: the model entirely in float and entirely in int8,
as the runtime executes them, priced operator by operator by the latency estimator.  Conversion prices come from two
probes that alternate the precision of neighbouring regions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from autocompress.measurement import EstimatedLatency, Interval
from autocompress.passes.quantize import INT8, PRECISIONS
from autocompress.search.boundaries import Boundary
from autocompress.search.regions import Region

if TYPE_CHECKING:
    from autocompress.search.surcharge import Choice, Surcharge

OPTIONS = PRECISIONS
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ConversionPrice:
    """Cost of taking one tensor across a precision boundary: ``fixed_us + elements * per_element_us``."""

    fixed_us: float
    per_element_us: float

    def times(self, factor: float) -> ConversionPrice:
        """The price times a factor."""
        return ConversionPrice(self.fixed_us * factor, self.per_element_us * factor)


@dataclass(frozen=True)
class LatencyPrices:
    """Additive prices of one model on one device, runtime and thread count, for one scheme of integer kernels.

    Attributes:
        regions: the regions, in graph order.
        region_us: of shape (regions, options), options in the order of ``OPTIONS``; inf where a region has no such
            option.
        fixed_us: operators outside every unit.
        boundaries: tensors at which precision may change.
        quantize: price of float -> int8.
        dequantize: price of int8 -> float.
        scale: multiplicative correction from measurements (re-anchoring); 1.0 until something was measured.
        relative_error: half width of the 90 % interval, relative.
        coverage: share of the probes' time that came from exact table hits.
        nodes: number of operators priced in the int8 probe.
        surcharges: what values of choices that cost time add, before ``scale``; of others, nothing.
        forms: the prices of recipes that have made choices under which other regions are int8, or write something else;
            surcharges are added to these as well.
        region_bytes: what the weights of each region take in a file, of shape (regions, options); None where nobody
            asked.
        fixed_bytes: the rest of the file.
    """

    regions: tuple[Region, ...]
    region_us: FloatArray
    fixed_us: float
    boundaries: tuple[Boundary, ...]
    quantize: ConversionPrice
    dequantize: ConversionPrice
    scale: float = 1.0
    relative_error: float = 0.1
    coverage: float = 0.0
    nodes: int = 0
    surcharges: Mapping[Choice, Surcharge] = field(default_factory=dict)
    forms: Mapping[frozenset[Choice], LatencyPrices] = field(default_factory=dict)
    region_bytes: FloatArray | None = None
    fixed_bytes: float = 0.0

    def parts_us(self, options: IntArray, added_us: FloatArray | float = 0.0) -> FloatArray:
        """What each part of the price adds, before ``scale``, of shape (recipes, options + 2).

        The parts are the regions in each option, in the order of ``OPTIONS``, then conversions, then what is fixed.

        Args:
            options: of shape (recipes, regions), positions in ``OPTIONS``.
            added_us: what the choices of each recipe add to what is fixed, of shape (recipes,).
        """
        region_us = self.region_us[np.arange(len(self.regions)), options]
        int8 = np.concatenate([options == OPTIONS.index(INT8), np.zeros((len(options), 1), bool)], axis=1)
        by_option = [np.where(options == i, region_us, 0.0).sum(axis=1) for i in range(len(OPTIONS))]
        return np.stack(
            [*by_option, self._conversion_us(int8), self.fixed_us + np.zeros(len(options)) + added_us], axis=1
        )

    def with_factors(self, factors: FloatArray, scale: float) -> LatencyPrices:
        """The same prices, each part times its factor.

        Args:
            factors: one for each part of ``parts_us``.
            scale: the new ``scale``.
        """
        *by_option, conversion, fixed = factors.tolist()
        return replace(
            self,
            region_us=self.region_us * np.asarray(by_option),
            fixed_us=self.fixed_us * fixed,
            quantize=self.quantize.times(conversion),
            dequantize=self.dequantize.times(conversion),
            scale=scale,
            forms={choices: prices.with_factors(factors, scale) for choices, prices in self.forms.items()},
        )

    def price_ms(self, options: IntArray) -> FloatArray:
        """Prices many recipes at once.

        Args:
            options: of shape (recipes, regions), positions in ``OPTIONS``.

        Returns:
            Milliseconds, of shape (recipes,); inf where a region is given an option it does not have.
        """
        rows = np.arange(len(self.regions))
        region_us = self.region_us[rows, options].sum(axis=1)
        int8 = np.concatenate([options == OPTIONS.index(INT8), np.zeros((len(options), 1), bool)], axis=1)
        total = self.fixed_us + region_us + self._conversion_us(int8)
        return np.asarray(total * self.scale / 1e3)

    def under(self, choices: Iterable[Choice]) -> LatencyPrices:
        """The prices of recipes that have made certain choices (see ``surcharge.choices_of``)."""
        made = frozenset(choices)
        form = next((prices for wanted, prices in self.forms.items() if wanted <= made), self)
        known = [self.surcharges[choice] for choice in self.surcharges if choice in made]
        if not known:
            return form
        region_us = form.region_us + sum(surcharge.region_us for surcharge in known)
        fixed_us = form.fixed_us + sum(surcharge.fixed_us for surcharge in known)
        return replace(form, region_us=np.maximum(region_us, 0.0), fixed_us=max(fixed_us, 0.0), surcharges={})

    def estimate(self, options: Sequence[int]) -> EstimatedLatency:
        """Prices one recipe, with its interval."""
        latency_ms = float(self.price_ms(np.asarray([options], np.int64))[0])
        half = self.relative_error * latency_ms
        return EstimatedLatency(
            latency_ms, Interval(max(latency_ms - half, 0.0), latency_ms + half), self.coverage, self.nodes
        )

    def quantize_us(self, boundary: Boundary) -> float:
        """Cost of bringing one tensor from float to int8."""
        return self.quantize.fixed_us + boundary.elements * self.quantize.per_element_us

    def dequantize_us(self, boundary: Boundary) -> float:
        """Cost of bringing one tensor from int8 to float; some kernels write float for nothing."""
        if boundary.written_float:
            return 0.0
        return self.dequantize.fixed_us + boundary.elements * self.dequantize.per_element_us

    def _conversion_us(self, int8: npt.NDArray[np.bool_]) -> FloatArray:
        total = np.zeros(len(int8))
        for boundary in self.boundaries:
            produced = int8[:, boundary.producer]
            readers = int8[:, list(boundary.consumers)]
            wants_int8 = readers.any(axis=1)
            wants_float = (~readers).any(axis=1) | boundary.float_reader
            total += np.where(~produced & wants_int8, self.quantize_us(boundary), 0.0)
            total += np.where(produced & wants_float, self.dequantize_us(boundary), 0.0)
        return total
