"""Sensitivity to quantization: the damage of each layer in each precision, beside the time that it would save."""

from __future__ import annotations

from typing import Any

import numpy as np

from autocompress.passes.quantize import FP32
from autocompress.search import schemes, stages
from autocompress.search.prices import OPTIONS
from autocompress.search.state import SearchState

_STAGES = (
    stages.measure_baseline,
    stages.calibrate,
    stages.price,
    schemes.price_choices,
    schemes.equalize,
    schemes.screen,
    stages.sense,
)


def precision_rows(state: SearchState) -> list[dict[str, Any]]:
    """Goes through the stages of a search that find sensitivities.

    Returns:
        Rows with ``name``, ``op_type``, ``option``, ``damage``, ``latency_ms``, ``share`` of the float model's time,
        and ``saved_ms``; the most damaging first.
    """
    for stage in _STAGES:
        stage(state)
    prices, damage = state.prices, state.damage
    assert prices is not None and damage is not None
    fp32 = OPTIONS.index(FP32)
    total_us = float(prices.price_ms(np.zeros((1, len(state.regions)), np.int64))[0]) * 1e3
    rows = []
    for i, region in enumerate(state.regions):
        for option in region.options:
            position = OPTIONS.index(option)
            if not (np.isfinite(damage[i, position]) and np.isfinite(prices.region_us[i, position])):
                continue  # a precision that the search space does not have
            cost_us = float(prices.region_us[i, position]) * prices.scale
            float_us = float(prices.region_us[i, fp32]) * prices.scale
            rows.append(
                {
                    "name": region.name,
                    "op_type": region.op_type,
                    "option": option,
                    "damage": float(damage[i, position]),
                    "latency_ms": cost_us / 1e3,
                    "share": cost_us / total_us,
                    "saved_ms": (float_us - cost_us) / 1e3,
                }
            )
    return sorted(rows, key=lambda row: (-row["damage"], -row["latency_ms"]))
