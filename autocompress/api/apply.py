"""``apply``: a recipe and its model give the emitted candidate again, bit for bit."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import onnx

from autocompress.calibration.collect import collect
from autocompress.calibration.outputs import ActivationSessions
from autocompress.calibration.statistics import Statistics
from autocompress.data import data_spec, open_source, split_samples
from autocompress.graph.model import fingerprint, input_specs, load_model, model_bytes, save_model, size_bytes
from autocompress.recipe.builder import CandidateBuilder, prepare
from autocompress.recipe.builder import apply_recipe as apply_frozen
from autocompress.recipe.recipe import FrozenRecipe, read_recipe
from autocompress.runtimes import get_runtime
from autocompress.runtimes.protocol import SessionOptions


def apply_recipe(
    recipe: str | Path,
    model: str | Path,
    output: str | Path,
    *,
    data: Any = None,
    preprocess: str | Path | None = None,
) -> dict[str, Any]:
    """Applies a recipe and writes the candidate.

    Args:
        recipe: recipe.json of a run.
        model: the model it was made for.
        output: where the candidate is written.
        data: samples, needed only by recipes that carry no ranges.
        preprocess: how samples become inputs.

    Returns:
        ``model``, ``size_bytes``, ``sha256`` and ``steps``.

    Raises:
        UserError: when the recipe does not fit the model, or needs data that was not given.
    """
    frozen = read_recipe(recipe)
    loaded = load_model(model)
    statistics = None
    if frozen.payload is None and frozen.recipe.quantize is not None and data is not None:
        statistics = _calibrate(frozen, loaded, data, preprocess)
    candidate = apply_frozen(frozen, loaded, statistics)
    path = save_model(candidate, output, source=Path(model))
    return {
        "model": str(path),
        "size_bytes": size_bytes(path),
        "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest(),
        "steps": [step["step"] for step in frozen.recipe.to_steps()],
    }


def candidate_of(recipe: str | Path, model: str | Path) -> onnx.ModelProto:
    """What a recipe makes of a model.

    Raises:
        UserError: when the recipe does not fit the model.
    """
    return apply_frozen(read_recipe(recipe), load_model(model))


def _calibrate(frozen: FrozenRecipe, model: onnx.ModelProto, data: Any, preprocess: str | Path | None) -> Statistics:
    inputs = input_specs(model)
    source = open_source(data_spec(data, preprocess=preprocess, model_inputs=inputs), inputs)
    builder = CandidateBuilder(prepare(model), frozen.runtime, fingerprint(model))
    engine = get_runtime(frozen.runtime)
    sessions = ActivationSessions(builder.prepared, lambda m: engine.load(model_bytes(m), SessionOptions()))
    try:
        chosen = split_samples(len(source), 0, separate_calibration=len(source)).calibration
        return collect(sessions, source, chosen.tolist(), builder.quantizer.tensors)
    finally:
        source.close()
