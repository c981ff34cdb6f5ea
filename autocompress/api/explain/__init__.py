"""Why a model costs what it costs, and what int8 would save: facts of the executed graph, and prices, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx

from autocompress.api.explain.executed import PricedGraph
from autocompress.api.explain.forms import Execute, Forms
from autocompress.api.explain.given import GivenModel
from autocompress.api.explain.prospects import prospects
from autocompress.api.explain.reasons import Evidence
from autocompress.api.explain.rows import kind_rows, operator_rows
from autocompress.graph.quantized import is_quantized
from autocompress.latency.estimator import LatencyEstimator
from autocompress.runtimes.protocol import ExecutedOp, Runtime


def explanation(
    model: onnx.ModelProto, ops: Sequence[ExecutedOp], estimator: LatencyEstimator, runtime: Runtime, execute: Execute
) -> dict[str, Any]:
    """Explains one model.

    Args:
        model: with every size a number.
        ops: as executed.
        estimator: prices operators.
        runtime: what executes.
        execute: gives another form of the model as executed.

    Returns:
        ``ops``: a row per operator, the dearest first; ``kinds``: the same by kind; ``int8``: what int8 would make of
        it (see ``prospects``), or None with ``int8_unavailable``, the reason.
    """
    evidence = Evidence(PricedGraph(ops, estimator), GivenModel(model, runtime.quantization), estimator, runtime.name)
    document: dict[str, Any] = {
        "ops": operator_rows(evidence),
        "kinds": kind_rows(evidence.graph),
        "int8": None,
        "int8_unavailable": None,
    }
    if is_quantized(model):
        return {**document, "int8_unavailable": "the model is quantized already"}
    forms = Forms(model, runtime.name, execute)
    if not forms.regions:
        return {**document, "int8_unavailable": f"no operator of it has an integer form in {runtime.name}"}
    return {**document, "int8": prospects(forms, evidence.graph.estimate, estimator, runtime.name)}


__all__ = ["explanation"]
