"""``inspect``: what a model is made of, operator by operator as executed and layer by layer as stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from autocompress.api.feeds import bound_model
from autocompress.api.graph_picture import Original, write_graph_picture
from autocompress.api.latency_model import open_latency_model
from autocompress.api.op_layers import known_name, layers_of_ops
from autocompress.api.operators import compute_dtype, executed, parameters, shape_text
from autocompress.api.structure import (
    changes_document,
    stored_layers,
    stored_sizes,
    zeros_of_ops,
    zeros_sentences,
)
from autocompress.graph.model import load_model, size_bytes
from autocompress.recipe.builder import CandidateBuilder, prepare
from autocompress.report.structure import LayerFacts, LayerPair, side_by_side, totals
from autocompress.runtimes import get_runtime
from autocompress.runtimes.protocol import ExecutedOp, Runtime
from autocompress.runtimes.work import multiply_adds

if TYPE_CHECKING:
    from autocompress.latency.estimator import OpPrice

Shapes = Mapping[str, tuple[int, ...]]


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
    """Shows a model as the runtime executes it, and its layers as they are stored.

    Args:
        model: ONNX file.
        runtime: what would execute it.
        threads: intra-op threads.
        shapes: sizes of dynamic inputs.
        batch_size: samples per run.
        latency_table: use this table.
        graph: an .svg file to draw the executed graph into.
        against: the model that this one was made from; layers are put beside its layers, and the picture marks what
            differs.

    Returns:
        ``ops``: one row per executed operator.  ``layers``: one row per layer with a stored weight (see
        ``autocompress.report.structure.LayerFacts``).  ``changes``: with ``against`` what was done to each layer.
        ``stored``: sizes without the zeros, where there are many.  ``totals`` and ``notices``.

    Raises:
        UserError: when a model or the table cannot be used.
    """
    proto, engine = load_model(model), get_runtime(runtime)
    bound = bound_model(proto, shapes or {}, batch_size)
    original = None if against is None else bound_model(load_model(against), shapes or {}, batch_size)
    latency = open_latency_model(engine, threads, forced=None if latency_table is None else Path(latency_table))
    threads = latency.header.threads
    ops = executed(engine, bound, threads)
    estimator = latency.open_estimator()
    found, prices = estimator.estimate(ops), estimator.price([op.signature for op in ops])
    layers = stored_layers(bound)
    owners = [None] * len(ops) if layers.model is None else layers_of_ops(ops, layers.model, layers.facts)
    earlier = None if original is None else stored_layers(original)
    pairs = () if earlier is None else side_by_side(earlier.facts, layers.facts)
    zeros, sizes = zeros_of_ops(ops, owners), stored_sizes(proto, layers.facts)
    if graph is not None:
        other = None if original is None else _original(original, engine, threads, pairs)
        write_graph_picture(Path(graph), f"{Path(model).name}, {engine.name}", ops, prices, owners, zeros, other)
    rows, sums = _rows(ops, prices, owners, zeros), totals(layers.facts)
    changes = None
    if earlier is not None:
        changes = {"against": str(against), **changes_document(pairs, earlier.facts, layers.facts)}
    return {
        "model": str(model),
        "runtime": engine.name,
        "threads": threads,
        "device": latency.device,
        "ops": rows,
        "layers": [asdict(layer) for layer in layers.facts],
        "changes": changes,
        "stored": sizes,
        "totals": {
            "ops": len(rows),
            "parameters": sum(row["parameters"] for row in rows),
            "macs": sum(row["macs"] for row in rows),
            "size_bytes": size_bytes(model),
            "weights": sums.elements,
            "nonzero": sums.nonzero,
            "sparsity": sums.sparsity,
            "latency_ms": found.latency_ms,
            "interval90_ms": found.interval90_ms.to_list(),
            "coverage": found.coverage,
        },
        "graph": None if graph is None else str(graph),
        "notices": [
            *latency.notices,
            *layers.notices,
            *(() if earlier is None else earlier.notices),
            *zeros_sentences(layers.facts, sizes, engine.name),
        ],
    }


def _original(bound: onnx.ModelProto, engine: Runtime, threads: int, pairs: Sequence[LayerPair]) -> Original:
    units = CandidateBuilder(prepare(bound), engine.name, "").quantizer.units
    return Original(executed(engine, bound, threads), units, pairs)


def _rows(
    ops: Sequence[ExecutedOp],
    prices: Sequence[OpPrice],
    owners: Sequence[LayerFacts | None],
    zeros: Sequence[float],
) -> list[dict[str, Any]]:
    total_us = sum(price.latency_us for price in prices) or 1.0
    return [
        {
            "name": op.name,
            "layer": known_name(op, owner),
            "op_type": op.signature.op_type,
            "shape": list(op.signature.outputs[0].shape) if op.signature.outputs else [],
            "shapes": shape_text(op.signature),
            "dtype": compute_dtype(op.signature),
            "parameters": parameters(op.signature),
            "macs": multiply_adds(op.signature),
            "sparsity": share,
            "latency_ms": price.latency_us / 1e3,
            "interval90_ms": [price.low_us / 1e3, price.high_us / 1e3],
            "source": price.source,
            "share": price.latency_us / total_us,
        }
        for op, price, owner, share in zip(ops, prices, owners, zeros, strict=True)
    ]
