"""``estimate`` and ``measure``: what a model costs, predicted and observed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autocompress.api.apply import candidate_of
from autocompress.api.explain import explanation
from autocompress.api.feeds import bound_model, random_feeds
from autocompress.api.latency_model import LatencyModel, open_latency_model
from autocompress.api.on_the_spot import with_unknown_timed
from autocompress.api.operators import executed
from autocompress.errors import ConfigError, ModelError, RuntimeFailure
from autocompress.graph.model import load_model
from autocompress.measurement import MeasuredLatency
from autocompress.runtimes import get_runtime
from autocompress.runtimes.protocol import Runtime, Session, SessionOptions
from autocompress.runtimes.timing import measure_interleaved, time_session

Shapes = Mapping[str, tuple[int, ...]]


def estimate(
    model: str | Path,
    *,
    recipe: str | Path | None = None,
    runtime: str = "onnxruntime",
    threads: int = 1,
    shapes: Shapes | None = None,
    batch_size: int = 1,
    latency_table: str | Path | None = None,
    explain: bool = False,
) -> dict[str, Any]:
    """Predicts the latency of a model, or of what a recipe makes of it, without timing it.

    Operators that neither table nor forest knows are timed on the spot; where they cannot be, a bound prices them, and
    a notice says so.

    Returns:
        ``latency_ms``, ``interval90_ms``, ``coverage``, ``nodes``, ``table``, and with ``explain`` what
        ``autocompress.api.explain.explanation`` gives: ``ops`` and ``kinds`` by cost, and what ``int8`` would save.

    Raises:
        UserError: when the model, the recipe or the table cannot be used.
    """
    proto = load_model(model) if recipe is None else candidate_of(recipe, model)
    engine = get_runtime(runtime)
    bound = bound_model(proto, shapes or {}, batch_size)
    latency = open_latency_model(engine, threads, forced=_path(latency_table))
    threads = latency.header.threads
    ops = executed(engine, bound, threads)
    estimator, spoken = with_unknown_timed(latency, bound, ops)
    found = estimator.estimate(ops)
    document: dict[str, Any] = {
        "model": str(model),
        "recipe": None if recipe is None else str(recipe),
        "latency_ms": found.latency_ms,
        "interval90_ms": found.interval90_ms.to_list(),
        "coverage": found.coverage,
        "nodes": found.nodes,
        "runtime": engine.name,
        "threads": threads,
        "device": latency.device,
        "table": latency.table_name,
        "notices": [*latency.notices, *spoken],
    }
    if explain:
        document |= explanation(bound, ops, estimator, engine, lambda form: executed(engine, form, threads))
    return document


def measure(
    a: str | Path,
    b: str | Path | None = None,
    *,
    runtime: str = "onnxruntime",
    threads: int = 1,
    shapes: Shapes | None = None,
    batch_size: int = 1,
    budget_s: float = 5.0,
    seed: int = 0,
) -> dict[str, Any]:
    """Times one model, or two in turn within one process.

    Returns:
        ``a`` and ``b`` with ``latency_ms`` and what goes with it; for one model the same once more beside them, as a
        verify command prints it; for two ``speedup`` (a's time over b's) and ``speedup_ci95``.

    Raises:
        UserError: when a model cannot be used, or the two take different inputs.
    """
    engine = get_runtime(runtime)
    options = SessionOptions(threads=threads)
    feeds = random_feeds(bound_model(load_model(a), shapes or {}, batch_size), seed)
    first = _load(engine, a, options)
    context = {"runtime": engine.name, "runtime_version": engine.version, "threads": threads, "batch_size": batch_size}
    if b is None:
        alone = _time(a, first, feeds, budget_s)
        return {"a": _measured(a, alone), "b": None, **asdict(alone), **context}
    second = _load(engine, b, options)
    _same_inputs(first, second, a, b)
    try:
        found = measure_interleaved(first, second, feeds, budget_s=budget_s, seed=seed)
    except RuntimeFailure as error:
        raise ModelError(f"{a} and {b} cannot be run: {error}") from error
    return {
        "a": _measured(a, found.a),
        "b": _measured(b, found.b),
        "speedup": found.speedup,
        "speedup_ci95": found.speedup_ci95.to_list(),
        "rounds": found.rounds,
        **context,
    }


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)


def _load(engine: Runtime, model: str | Path, options: SessionOptions) -> Session:
    load_model(model)
    try:
        return engine.load(str(model), options)
    except RuntimeFailure as error:
        raise ModelError(f"the runtime cannot load {model}: {error}") from error


def _time(model: str | Path, session: Session, feeds: Any, budget_s: float) -> MeasuredLatency:
    try:
        return time_session(session, feeds, budget_s=budget_s)
    except RuntimeFailure as error:
        raise ModelError(f"{model} cannot be run: {error}") from error


def _measured(model: str | Path, found: MeasuredLatency) -> dict[str, Any]:
    return {"model": str(model), **asdict(found)}


def _same_inputs(first: Session, second: Session, a: str | Path, b: str | Path) -> None:
    names = [{spec.name: spec.dtype for spec in session.inputs} for session in (first, second)]
    if names[0] != names[1]:
        raise ConfigError(
            f"{a} and {b} take different inputs ({', '.join(names[0])} against {', '.join(names[1])}); "
            "only models of the same inputs can be timed in turn"
        )


__all__ = ["LatencyModel", "estimate", "measure"]
