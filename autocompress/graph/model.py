"""The model in memory: load, identify, serialize, save.  Everything about files is reached from here."""

from __future__ import annotations

from pathlib import Path

from onnx import ModelProto

from autocompress.errors import ModelError
from autocompress.graph.checks import check_model
from autocompress.graph.external import load_external_data, refuse_external
from autocompress.graph.fingerprint import fingerprint
from autocompress.graph.reading import read_model
from autocompress.graph.saving import (
    briefly_loadable,
    copy_model_file,
    loadable,
    loadable_bytes,
    model_bytes,
    save_model,
    size_bytes,
)
from autocompress.graph.specs import TensorSpec, input_specs, output_specs

__all__ = [
    "TensorSpec",
    "briefly_loadable",
    "copy_model",
    "copy_model_file",
    "fingerprint",
    "input_specs",
    "load_model",
    "loadable",
    "loadable_bytes",
    "model_bytes",
    "output_specs",
    "save_model",
    "size_bytes",
]


_UNNAMED = "graph"


def load_model(source: str | Path | ModelProto) -> ModelProto:
    """Loads and checks a model, external data included.

    Args:
        source: the path of an ONNX file, or a model in memory (copied, never changed).

    Returns:
        A model of one's own, self-contained.

    Raises:
        ModelError: one sentence: missing, truncated or not ONNX; external data missing, too short or outside the
            model's folder; empty graph; unknown opset or operator; missing outputs; duplicated names; invalid.
    """
    if isinstance(source, ModelProto):
        refuse_external(source)
        model = copy_model(source)
    elif isinstance(source, (str, Path)):
        path = Path(source)
        model = read_model(path)
        load_external_data(model, path)
    else:
        raise ModelError(f"A model is a path or an onnx.ModelProto, not a {type(source).__name__}.")
    if not model.graph.name:
        model.graph.name = _UNNAMED  # runtimes do not mind, the checker does
    check_model(model)
    return model


def copy_model(model: ModelProto) -> ModelProto:
    """An independent copy."""
    copied = ModelProto()
    copied.CopyFrom(model)
    return copied
