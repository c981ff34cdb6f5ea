"""Writes what a run found: the model, its recipe, the summary, the report and the end of the study."""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from autocompress.api.opening import BEST_MODEL, OpenRun
from autocompress.api.operators import operator_records
from autocompress.api.parameters import emitted_parameters
from autocompress.api.run_structure import run_structure
from autocompress.api.summary import make_summary
from autocompress.errors import StorageError
from autocompress.files import write_bytes, write_text
from autocompress.graph.model import copy_model_file, loadable, save_model
from autocompress.passes.quantize import FP32
from autocompress.recipe.files import RECIPE, RECIPE_ARRAYS, write_recipe
from autocompress.recipe.freezer import Freezer
from autocompress.recipe.recipe import FrozenRecipe, Recipe
from autocompress.report import write_report, write_summary
from autocompress.search.anchors import anchored, anchored_baseline
from autocompress.search.prices import OPTIONS
from autocompress.search.state import SearchState
from autocompress.search.stem import StemState
from autocompress.search.trials import Trial
from autocompress.search.verify import Outcome
from autocompress.store.records import LayerRecord


@dataclass(frozen=True)
class Emission:
    """What was written.

    Attributes:
        summary: the document that ``summary.json`` holds.
    """

    summary: dict[str, Any]


def emit(run: OpenRun, outcome: Outcome) -> Emission:
    """Writes the output folder and ends the study.

    Raises:
        StorageError: when the folder or the database cannot be written to.
    """
    made = Path(run.spec.folder) / "result"
    _write_model(run, outcome.best, made)
    _estimate_verified(run)
    _record_details(run, outcome.best)
    best = None if outcome.best is None else outcome.best.recipe
    summary = make_summary(run, outcome) | {"parameters": emitted_parameters(run, made / BEST_MODEL)}
    summary |= run_structure(run, best, made / BEST_MODEL)
    status = "interrupted" if run.state.interrupted else "complete"
    run.store.finish_study(run.name, status=status, stop_reason=outcome.reason, summary=summary)  # type: ignore[arg-type]
    write_report(run.store.load(run.name), summary, ("html", "png", "csv"), made)
    write_summary(summary, made)
    _publish(made, run.request.config.output)
    return Emission(summary)


def _publish(made: Path, output: Path) -> None:
    """Moves complete files into place, so that neither a full disk nor another run mixes two results."""
    try:
        with _alone_in(output):
            if not (made / RECIPE_ARRAYS).exists():
                (output / RECIPE_ARRAYS).unlink(missing_ok=True)
            # The text of a recipe comes after its arrays, whose digest it holds.
            for file in sorted(
                (path for path in made.rglob("*") if path.is_file()), key=lambda p: (p.name == RECIPE, p)
            ):
                target = output / file.relative_to(made)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(file, target)
    except OSError as error:
        raise StorageError(f"{output} cannot be written ({error.strerror}); give another --output") from error


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write_model(run: OpenRun, best: Trial | None, folder: Path) -> None:
    request = run.request
    folder.mkdir(exist_ok=True)
    if best is None:
        frozen = FrozenRecipe(Recipe(fold=False), request.fingerprint, request.config.runtime)
        _write_unchanged(request.model, request.model_path, folder / BEST_MODEL)
    else:
        builder = run.state.first_stem.builder
        stems = Path(run.spec.stems) if run.spec.stems else None
        frozen = Freezer(builder, folder=Path(run.spec.folder), stems=stems).freeze(best.recipe)
        save_model(builder.build(frozen), folder / BEST_MODEL, source=request.model_path)
    write_recipe(frozen, folder / RECIPE)
    write_text(folder / "split.json", split_text(run))


def _write_unchanged(model: onnx.ModelProto, source: Path | None, target: Path) -> None:
    """The very bytes that came in, with their external data; else the model as it was given from Python."""
    if source is None:
        given = loadable(model, target)
        if isinstance(given, bytes):
            write_bytes(target, given)
    else:
        copy_model_file(source, target)


def _estimate_verified(run: OpenRun) -> None:
    """Gives verified trials the estimate of the operators that they really execute, in place of the additive one."""
    for trial in run.state.verified:
        if trial.verification is not None and trial.verification.ops and run.state.estimator is not None:
            trial.estimate = anchored(run.state, trial.verification.ops, without=trial)
            run.state.on_trial(trial)


def _record_details(run: OpenRun, best: Trial | None) -> None:
    state = run.state
    state.stem = _stem_to_show(state, best)
    if state.baseline is not None:
        run.store.set_baseline(run.name, baseline_document(state))
    if state.estimator is not None and state.baseline_ops:
        units = state.first_stem.units
        run.store.record_operators(run.name, "baseline", operator_records(state.baseline_ops, state.estimator, units))
        if best is not None and best.verification is not None:
            ops = best.verification.ops
            run.store.record_operators(run.name, "best", operator_records(ops, state.estimator, state.units))
    if state.damage is not None and state.prices is not None:
        run.store.record_layers(run.name, _layer_records(run, best))


def _layer_records(run: OpenRun, best: Trial | None) -> list[LayerRecord]:
    state = run.state
    assert state.damage is not None and state.prices is not None
    chosen = [FP32] * len(state.regions)
    if best is not None and best.recipe.quantize is not None:
        precisions = state.builder.quantizer.precisions(best.recipe.quantize)
        chosen = [precisions[region.name] for region in state.regions]
    rows = []
    for i, region in enumerate(state.regions):
        for option in region.options:
            position = OPTIONS.index(option)
            damage, us = float(state.damage[i, position]), float(state.prices.region_us[i, position])
            if not (math.isfinite(damage) and math.isfinite(us)):
                continue  # a precision that the search space does not have
            row = LayerRecord(
                layer=region.name, option=option, damage=damage, estimated_ms=us / 1e3, chosen=chosen[i] == option
            )
            rows.append(row if state.sensitivity_measured else replace(row, damage=None))
    return rows


def _stem_to_show(state: SearchState, best: Trial | None) -> StemState:
    """The stem whose layers a report is about: that of the result."""
    return (state.stem_of(best.recipe) if best is not None else None) or state.first_stem


def split_text(run: OpenRun) -> str:
    """The text of ``split.json``: which samples, by position in the data, served which purpose."""
    parts = {name: getattr(run.split, name).tolist() for name in ("calibration", "search", "verification")}
    separate = run.request.calibration is not None
    return json.dumps({**parts, "calibration_is_separate": separate}) + "\n"


def baseline_document(state: SearchState) -> dict[str, Any]:
    """The measured Baseline, JSON-ready."""
    measured = state.baseline
    assert measured is not None
    latency, estimate = measured.latency, anchored_baseline(state)
    return {
        "accuracy": measured.verification.value,
        "n": measured.verification.n,
        "search_accuracy": measured.search.value,
        "search_n": measured.search.n,
        "metric": measured.metric,
        "is_fraction": measured.is_fraction,
        "higher_is_better": measured.higher_is_better,
        "latency_ms": None if latency is None else latency.latency_ms,
        "latency_spread_ms": None if latency is None else latency.spread_ms,
        "latency_repeats": None if latency is None else latency.repeats,
        "clock": None if latency is None else latency.clock,
        "latency_estimate_ms": None if estimate is None else estimate.latency_ms,
        "latency_estimate_interval90_ms": None if estimate is None else estimate.interval90_ms.to_list(),
        "size_bytes": measured.size_bytes,
        "deflate_bytes": measured.deflate_bytes,
    }
