"""Small made-up models for the pure parts of the search: regions, prices, spaces, trials."""

from __future__ import annotations

import numpy as np

from autocompress.measurement import (
    EstimatedLatency,
    Interval,
    MeasuredAccuracy,
    MeasuredDrop,
    MeasuredLatency,
    MeasuredSpeedup,
)
from autocompress.passes.quantize import FP32, INT8, INT8_DYNAMIC, QuantizeConfig, Unit
from autocompress.recipe.recipe import Recipe
from autocompress.search.boundaries import Boundary
from autocompress.search.prices import OPTIONS, ConversionPrice, LatencyPrices
from autocompress.search.regions import Region
from autocompress.search.results import EvaluationResult
from autocompress.search.space import SearchSpace, parse_space
from autocompress.search.trials import COMPLETE, Trial


def unit(name: str, op_type: str = "Conv", inputs: tuple[str, ...] = ("x",), *, weight: bool = True) -> Unit:
    options = (FP32, INT8, INT8_DYNAMIC) if op_type == "MatMul" else (FP32, INT8)
    return Unit(name, op_type, (name,), inputs, f"{name}_out", f"{name}_w" if weight else None, None, options)


def region(name: str, op_type: str = "Conv") -> Region:
    return Region((unit(name, op_type),))


def random_prices(seed: int, regions: int) -> LatencyPrices:
    """Regions with random costs and random tensors between them; every third is a product that may be dynamic."""
    rng = np.random.default_rng(seed)
    listed = tuple(region(f"r{i}", "MatMul" if i % 3 == 2 else "Conv") for i in range(regions))
    us = rng.uniform(5, 100, (regions, len(OPTIONS)))
    us[:, 1] *= rng.uniform(0.2, 1.3, regions)
    for i, r in enumerate(listed):
        us[i, [option not in r.options for option in OPTIONS]] = np.inf
    boundaries = [Boundary("x", -1, (0,), False, int(rng.integers(1, 2000)))]
    for i in range(regions):
        later = np.arange(i + 1, regions)
        readers = rng.choice(later, size=min(len(later), int(rng.integers(0, 3))), replace=False) if len(later) else []
        float_reader = bool(rng.random() < 0.3) or i == regions - 1
        boundaries.append(
            Boundary(
                f"r{i}_out",
                i,
                tuple(map(int, readers)),
                float_reader,
                int(rng.integers(1, 2000)),
                written_float=listed[i].op_type == "MatMul",
            )
        )
    return LatencyPrices(
        regions=listed,
        region_us=us,
        fixed_us=float(rng.uniform(0, 20)),
        boundaries=tuple(boundaries),
        quantize=ConversionPrice(0.5, float(rng.uniform(0, 0.02))),
        dequantize=ConversionPrice(0.7, float(rng.uniform(0, 0.02))),
        scale=float(rng.uniform(0.8, 1.2)),
    )


def random_damage(seed: int, prices: LatencyPrices) -> np.ndarray:
    rng = np.random.default_rng(seed + 1000)
    damage = 10 ** rng.uniform(-4, -1, prices.region_us.shape)
    damage[:, 0] = 0.0
    return np.where(np.isfinite(prices.region_us), damage, np.inf)


def space(per: str = "unit") -> SearchSpace:
    return parse_space(
        "small",
        {
            "description": "for tests",
            "scheme": {"activation_range": ["min_max", "percentile"], "bias_correction": [True, False]},
            "precision": {"options": [FP32, INT8, INT8_DYNAMIC], "per": per},
        },
    )


def evaluated_trial(
    number: int,
    drop: float,
    speedup: float,
    *,
    half_width: float = 0.01,
    size_bytes: int = 100,
    stopped_early: bool = False,
) -> Trial:
    """A complete trial with the given measurements (a baseline of 10 ms)."""
    latency = MeasuredLatency(10.0 / speedup, 10.0 / speedup, 0.0, 10, "cpu")
    base = MeasuredLatency(10.0, 10.0, 0.0, 10, "cpu")
    evaluation = EvaluationResult(
        accuracy=MeasuredAccuracy("top1", 0.9 - drop, 100),
        drop=MeasuredDrop(drop, Interval(drop - half_width, drop + half_width), 100, "paired-t"),
        damage=0.01,
        speedup=MeasuredSpeedup(base, latency, speedup, Interval(speedup, speedup), 10),
        size_bytes=size_bytes,
        stopped_early=stopped_early,
        build_s=0.1,
        evaluate_s=0.1,
    )
    return Trial(
        number=number,
        recipe=Recipe(QuantizeConfig().with_precisions({f"u{number}": FP32})),
        params={},
        origin="seed",
        state=COMPLETE,
        estimate=EstimatedLatency(1.0, Interval(0.9, 1.1), 1.0, 1),
        evaluation=evaluation,
    )
