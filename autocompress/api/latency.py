"""``estimate``, ``inspect`` and ``measure``: what a model costs, predicted and observed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx

from autocompress.api.apply import candidate_of
from autocompress.api.explain import explanation
from autocompress.api.feeds import bound_model, random_feeds
from autocompress.api.graph_picture import write_graph_picture
from autocompress.api.latency_model import LatencyModel, open_latency_model
from autocompress.api.operators import compute_dtype, parameters, shape_text
from autocompress.errors import ConfigError, ModelError, RuntimeFailure
from autocompress.graph.model import load_model, model_bytes, size_bytes
from autocompress.measurement import MeasuredLatency
from autocompress.recipe.builder import CandidateBuilder, prepare
from autocompress.runtimes import get_runtime
from autocompress.runtimes.protocol import ExecutedOp, Runtime, Session, SessionOptions
from autocompress.runtimes.timing import measure_interleaved, time_session
from autocompress.runtimes.work import multiply_adds

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
    ops = _executed(engine, bound, threads)
    estimator = latency.open_estimator()
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
        "notices": list(latency.notices),
    }
    unknown = sorted({op.signature.op_type for op in estimator.unknown(ops)})
    if unknown:
        document["notices"].append(
            f"neither table nor forest knows {', '.join(unknown)}: priced by a stated bound only"
        )
    if explain:
        document |= explanation(bound, ops, estimator, engine, lambda form: _executed(engine, form, threads))
    return document


def inspect(
    model: str | Path,
    *,
    runtime: str = "onnxruntime",
    threads: int = 1,
    shapes: Shapes | None = None,
    batch_size: int = 1,
    latency_table: str | Path | None = None,
    graph: str | Path | None = None,
    against: str | Path | None = None,
) -> dict[str, Any]:
    """Shows a model as the runtime executes it: one row per fused operator, and totals.

    Args:
        model: ONNX file.
        runtime: what would execute it.
        threads: intra-op threads.
        shapes: sizes of dynamic inputs.
        batch_size: samples per run.
        latency_table: use this table.
        graph: an .svg file to draw the executed graph into.
        against: the model that this one was made from; the picture marks what differs.

    Raises:
        UserError: when the model or the table cannot be used.
    """
    if against is not None and graph is None:
        raise ConfigError("--against says what a picture is compared with; give --graph out.svg with it")
    proto = load_model(model)
    engine = get_runtime(runtime)
    bound = bound_model(proto, shapes or {}, batch_size)
    latency = open_latency_model(engine, threads, forced=_path(latency_table))
    threads = latency.header.threads
    ops = _executed(engine, bound, threads)
    estimator = latency.open_estimator()
    found = estimator.estimate(ops)
    prices = estimator.price([op.signature for op in ops])
    if graph is not None:
        other = None
        if against is not None:
            given = bound_model(load_model(against), shapes or {}, batch_size)
            units = CandidateBuilder(prepare(given), engine.name, "").quantizer.units
            other = _executed(engine, given, threads), units
        write_graph_picture(Path(graph), f"{Path(model).name}, {engine.name}", ops, prices, other)
    total_us = sum(price.latency_us for price in prices) or 1.0
    rows = [
        {
            "name": op.name,
            "op_type": op.signature.op_type,
            "shape": list(op.signature.outputs[0].shape) if op.signature.outputs else [],
            "shapes": shape_text(op.signature),
            "dtype": compute_dtype(op.signature),
            "parameters": parameters(op.signature),
            "macs": multiply_adds(op.signature),
            "sparsity": op.signature.sparsity,
            "latency_ms": price.latency_us / 1e3,
            "interval90_ms": [price.low_us / 1e3, price.high_us / 1e3],
            "source": price.source,
            "share": price.latency_us / total_us,
        }
        for op, price in zip(ops, prices, strict=True)
    ]
    weights = sum(int(row["parameters"]) for row in rows)  # type: ignore[call-overload]
    zeros = sum(float(row["sparsity"]) * int(row["parameters"]) for row in rows)  # type: ignore[arg-type, call-overload]
    return {
        "model": str(model),
        "runtime": engine.name,
        "threads": threads,
        "device": latency.device,
        "ops": rows,
        "totals": {
            "ops": len(rows),
            "parameters": weights,
            "macs": sum(int(row["macs"]) for row in rows),  # type: ignore[call-overload]
            "size_bytes": size_bytes(model),
            "sparsity": zeros / weights if weights else 0.0,
            "latency_ms": found.latency_ms,
            "interval90_ms": found.interval90_ms.to_list(),
            "coverage": found.coverage,
        },
        "graph": None if graph is None else str(graph),
        "notices": list(latency.notices),
    }


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


def _executed(engine: Runtime, bound: onnx.ModelProto, threads: int) -> list[ExecutedOp]:
    """A model whose sizes are all numbers, as the runtime executes it."""
    try:
        return list(engine.executed_ops(model_bytes(bound), random_feeds(bound), threads=threads, standalone=False))
    except RuntimeFailure as error:
        raise ModelError(f"the runtime cannot run the model: {error}") from error


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


__all__ = ["LatencyModel", "estimate", "inspect", "measure"]
