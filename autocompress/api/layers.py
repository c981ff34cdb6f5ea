"""``sensitivity``: which layer loses the accuracy, and which costs the time."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from autocompress.api.opening import open_run
from autocompress.api.request import refuse_uncompressible, settle
from autocompress.config import RunConfig
from autocompress.passes.quantize import FP32
from autocompress.progress import NullProgress, Progress
from autocompress.search import schemes, stages
from autocompress.search.prices import OPTIONS
from autocompress.search.quiet import quiet_optuna

_STAGES = (
    stages.measure_baseline,
    stages.calibrate,
    stages.price,
    schemes.price_choices,
    schemes.equalize,
    schemes.screen,
    stages.sense,
)


def sensitivity(
    model: str | Path,
    data: Any,
    *,
    preprocess: str | Path | None = None,
    runtime: str = "onnxruntime",
    threads: int = 1,
    shapes: dict[str, tuple[int, ...]] | None = None,
    latency_table: str | Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measures, for each layer and precision, the damage at the output and the time it would save; needs no labels.

    Returns:
        ``layers``: rows with ``name``, ``op_type``, ``option``, ``damage``, ``latency_ms``, ``share`` of the float
        model's time, and ``saved_ms``; the most damaging first.

    Raises:
        UserError: when model or data cannot be used.
        NothingToCompress: when no layer has a choice.
    """
    watching = progress or NullProgress()
    with tempfile.TemporaryDirectory(prefix="autocompress-") as folder:
        config = RunConfig(
            model=model,
            data=data if isinstance(data, (str, Path)) else None,
            preprocess=preprocess,
            runtime=runtime,
            threads=threads,
            shapes=shapes or {},
            latency_table=latency_table,
            seed=seed,
            output=Path(folder) / "out",
            storage=str(Path(folder) / "study.db"),
        )
        request = settle(config, None, options={})
        refuse_uncompressible(request.model)
        with quiet_optuna(), open_run(request, watching, announce=False) as run, run.make_executor() as executor:
            run.state.executor = executor
            for stage in _STAGES:
                stage(run.state)
            return {"model": str(model), "layers": _rows(run.state), "notices": list(run.state.notices)}


def _rows(state: Any) -> list[dict[str, Any]]:
    prices, damage = state.prices, state.damage
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
