"""``apply``: a recipe and its model give the emitted candidate again, bit for bit."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import onnx

from autocompress.data import data_spec, open_source, split_samples
from autocompress.graph.model import briefly_loadable, input_specs, load_model, save_model, size_bytes
from autocompress.graph.normalize import normalize
from autocompress.recipe.builder import apply_recipe as apply_frozen
from autocompress.recipe.builder import builder_for
from autocompress.recipe.calibration import CalibrationSamples
from autocompress.recipe.class_labels import class_labels
from autocompress.recipe.files import read_recipe
from autocompress.recipe.freezer import Freezer
from autocompress.recipe.recipe import FrozenRecipe
from autocompress.runtimes import get_runtime
from autocompress.runtimes.protocol import Runtime, Session, SessionOptions


def apply_recipe(
    recipe: str | Path,
    model: str | Path,
    output: str | Path,
    *,
    data: Any = None,
    preprocess: str | Path | None = None,
    simulate: bool = False,
) -> dict[str, Any]:
    """Applies a recipe and writes the candidate.

    Args:
        recipe: recipe.json of a run.
        model: the model it was made for.
        output: where the candidate is written.
        data: samples, needed only by recipes that carry no ranges.
        preprocess: how samples become inputs.
        simulate: writes the candidate in floating point instead, rounding as its integers do.

    Returns:
        ``model``, ``size_bytes``, ``sha256`` and ``steps``.

    Raises:
        UserError: when the recipe does not fit the model, or needs data that was not given.
    """
    frozen = read_recipe(recipe)
    loaded = load_model(model)
    if frozen.missing and data is not None:
        candidate = _learnt(frozen, loaded, data, preprocess, simulate)
    else:
        candidate = apply_frozen(frozen, loaded, simulate=simulate)
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


def _learnt(
    frozen: FrozenRecipe, model: onnx.ModelProto, data: Any, preprocess: str | Path | None, simulate: bool
) -> onnx.ModelProto:
    """The candidate, with what the recipe does not carry found from samples."""
    builder = builder_for(frozen, model)
    inputs = input_specs(model)
    source = open_source(data_spec(data, preprocess=preprocess, model_inputs=inputs), inputs)
    engine = get_runtime(frozen.runtime)
    try:
        chosen = split_samples(len(source), 0, separate_calibration=len(source)).calibration
        samples = CalibrationSamples(
            lambda m: _loaded(engine, m),
            lambda: source,
            chosen.tolist(),
            labels_of=lambda indices: class_labels(source, indices),
        )
        freezer = Freezer(builder, samples, known=frozen, unfolded=lambda: normalize(model))
        return builder.build(freezer.freeze(frozen.recipe), simulate=simulate)
    finally:
        source.close()


def _loaded(engine: Runtime, model: onnx.ModelProto) -> Session:
    with briefly_loadable(model) as given:
        return engine.load(given, SessionOptions())
