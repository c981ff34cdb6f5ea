"""Probes: whole-model candidates that are looked at (not run for accuracy) to learn what the runtime makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autocompress.latency.estimator import LatencyEstimator
from autocompress.passes.quantize import FP32, INT8, PRECISIONS, QuantizeConfig
from autocompress.recipe.builder import CandidateBuilder
from autocompress.recipe.recipe import Recipe
from autocompress.runtimes.protocol import ExecutedOp
from autocompress.search.attribution import attribute_ops, is_boundary
from autocompress.search.boundaries import Boundary, find_boundaries, int8_units
from autocompress.search.counted_size import FILE
from autocompress.search.prices import OPTIONS, ConversionPrice, LatencyPrices
from autocompress.search.regions import Region
from autocompress.search.sizes import fit_sizes

ExecutedOps = Sequence[ExecutedOp]


@dataclass(frozen=True)
class Probe:
    """One whole-model candidate as executed.

    Attributes:
        options: position in ``OPTIONS`` of each region.
        ops: the executed graph.
        size_bytes: of the candidate, the size that counts.
    """

    options: tuple[int, ...]
    ops: ExecutedOps
    size_bytes: int = 0


def probe_recipes(
    regions: Sequence[Region], config: QuantizeConfig, precisions: Sequence[str] = PRECISIONS
) -> dict[str, tuple[tuple[int, ...], Recipe]]:
    """The candidates to look at: all float, two that alternate, and all in each precision as far as possible.

    Args:
        regions: the regions of the model.
        config: the scheme.
        precisions: those in play; without int8 nothing alternates.

    Returns:
        name -> (options of the regions, recipe).
    """
    wanted: dict[str, list[str]] = {FP32: [FP32] * len(regions)}
    if INT8 in precisions:
        wanted[INT8] = [INT8] * len(regions)
        wanted["even"] = [INT8 if i % 2 == 0 else FP32 for i in range(len(regions))]
        wanted["odd"] = [INT8 if i % 2 == 1 else FP32 for i in range(len(regions))]
    for precision in OPTIONS:
        if precision in precisions and precision not in wanted and any(precision in r.options for r in regions):
            wanted[precision] = [precision if precision in r.options else FP32 for r in regions]
    return {
        name: (tuple(OPTIONS.index(o) for o in options), Recipe(with_options(config, regions, options)))
        for name, options in wanted.items()
    }


def with_options(config: QuantizeConfig, regions: Sequence[Region], options: Sequence[str]) -> QuantizeConfig:
    """The scheme with an option per region."""
    precisions: dict[str, str] = {}
    for region, option in zip(regions, options, strict=True):
        precisions |= region.precisions(option)
    return config.with_precisions(precisions)


def fit_prices(
    builder: CandidateBuilder,
    regions: Sequence[Region],
    probes: Mapping[str, Probe],
    estimator: LatencyEstimator,
    elements: Mapping[str, int],
    config: QuantizeConfig | None = None,
    *,
    size_as: str = FILE,
) -> LatencyPrices:
    """Additive prices from probes, every operator priced by the estimator.

    Args:
        builder: gives the prepared model.
        regions: its regions.
        probes: name -> candidate, as ``probe_recipes`` names them; "fp32" must be there.
        estimator: prices executed operators.
        elements: tensor -> number of elements.
        config: the scheme of the probes; the usual one unless given.
        size_as: which size that of the probes is: "file" or "deflate".
    """
    int8 = int8_units(builder.quantizer, regions, config or QuantizeConfig())
    boundaries = find_boundaries(builder.prepared, regions, builder.rules, elements, int8)
    region_us = np.full((len(regions), len(OPTIONS)), np.inf)
    fixed_us = 0.0
    for name in OPTIONS:
        if name not in probes:
            continue
        costs, outside = _region_costs(probes[name], regions, estimator)
        for i, option in enumerate(probes[name].options):
            if OPTIONS[option] == name:
                region_us[i, option] = costs[i]
        if name == FP32:
            fixed_us = outside
    conversions = _conversion_prices(probes, boundaries, estimator)
    fp32_estimate = estimator.estimate(probes[FP32].ops)
    int8_estimate = estimator.estimate(probes[INT8].ops) if INT8 in probes else fp32_estimate
    half = (int8_estimate.interval90_ms.high - int8_estimate.interval90_ms.low) / 2
    region_bytes, fixed_bytes = fit_sizes(builder.prepared, regions, probes, size_as)
    return LatencyPrices(
        regions=tuple(regions),
        region_us=region_us,
        fixed_us=fixed_us,
        boundaries=boundaries,
        quantize=conversions[0],
        dequantize=conversions[1],
        scale=1.0,
        relative_error=max(half / int8_estimate.latency_ms, 0.03),
        coverage=(int8_estimate.coverage + fp32_estimate.coverage) / 2,
        nodes=int8_estimate.nodes,
        region_bytes=region_bytes,
        fixed_bytes=fixed_bytes,
    )


def _region_costs(probe: Probe, regions: Sequence[Region], estimator: LatencyEstimator) -> tuple[list[float], float]:
    """Microseconds of each region, and of the operators outside every region that convert nothing."""
    units = [unit for region in regions for unit in region.units]
    home = [i for i, region in enumerate(regions) for _ in region.units]
    costs = [0.0] * len(regions)
    outside = 0.0
    prices = estimator.price([op.signature for op in probe.ops])
    for op, owner, price in zip(probe.ops, attribute_ops(probe.ops, units), prices, strict=True):
        if owner is not None:
            costs[home[owner]] += price.latency_us
        elif not is_boundary(op):
            outside += price.latency_us
    return costs, outside


def _conversion_prices(
    probes: Mapping[str, Probe], boundaries: Sequence[Boundary], estimator: LatencyEstimator
) -> tuple[ConversionPrice, ConversionPrice]:
    """Spreads what the alternating probes pay for conversions over the elements that cross."""
    spent = {"quantize": 0.0, "dequantize": 0.0}
    crossing = {"quantize": 0, "dequantize": 0}
    for name in ("even", "odd"):
        if name not in probes:
            continue
        for direction, microseconds in _conversion_us(probes[name].ops, estimator).items():
            spent[direction] += microseconds
        for direction, elements in _crossing(probes[name].options, boundaries).items():
            crossing[direction] += elements
    return (
        ConversionPrice(0.5, spent["quantize"] / max(crossing["quantize"], 1)),
        ConversionPrice(0.5, spent["dequantize"] / max(crossing["dequantize"], 1)),
    )


def _conversion_us(ops: ExecutedOps, estimator: LatencyEstimator) -> dict[str, float]:
    spent = {"quantize": 0.0, "dequantize": 0.0}
    boundary_ops = [op for op in ops if is_boundary(op)]
    for op, price in zip(boundary_ops, estimator.price([op.signature for op in boundary_ops]), strict=True):
        # Layout changes accompany both directions alike.
        if op.signature.op_type == "QuantizeLinear":
            spent["quantize"] += price.latency_us
        elif op.signature.op_type == "DequantizeLinear":
            spent["dequantize"] += price.latency_us
        else:
            spent["quantize"] += price.latency_us / 2
            spent["dequantize"] += price.latency_us / 2
    return spent


def _crossing(options: Sequence[int], boundaries: Sequence[Boundary]) -> dict[str, int]:
    int8 = [OPTIONS[option] == INT8 for option in options]
    total = {"quantize": 0, "dequantize": 0}
    for boundary in boundaries:
        produced = boundary.producer >= 0 and int8[boundary.producer]
        readers = [int8[i] for i in boundary.consumers]
        if not produced and any(readers):
            total["quantize"] += boundary.elements
        if produced and not boundary.written_float and (boundary.float_reader or not all(readers)):
            total["dequantize"] += boundary.elements
    return total
