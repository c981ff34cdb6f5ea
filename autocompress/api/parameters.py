"""Which parameters of the user's PyTorch module each weight of the emitted model holds."""

from __future__ import annotations

from pathlib import Path

from autocompress.api.opening import OpenRun
from autocompress.graph.model import load_model
from autocompress.graph.parameter_trace import trace_parameters


def emitted_parameters(run: OpenRun, emitted: Path) -> dict[str, list[str]]:
    """Weight name -> names of the module's parameters; empty where the model came as ONNX.

    Args:
        run: the run.
        emitted: the model file that it wrote.
    """
    names = run.request.names
    if not names:
        return {}
    # The unchanged model has the exported weights, a candidate those that the prepared form was made of.
    known = {**trace_parameters(names, run.request.model, run.state.first_stem.builder.prepared), **names}
    held = trace_parameters(known, run.state.first_stem.builder.prepared, load_model(emitted))
    return {weight: list(parameters) for weight, parameters in held.items()}
