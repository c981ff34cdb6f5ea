"""Builds candidates of one model: the fold is done once, quantized weights are shared between recipes."""

from __future__ import annotations

import onnx

from autocompress.calibration.statistics import Statistics
from autocompress.errors import RecipeError
from autocompress.graph.model import fingerprint, load_model
from autocompress.graph.normalize import normalize
from autocompress.graph.shapes import element_types, infer_shapes
from autocompress.passes.fold import fold
from autocompress.passes.quantize import Quantizer
from autocompress.recipe.recipe import FrozenRecipe, Recipe
from autocompress.runtimes import get_runtime


class CandidateBuilder:
    """Turns recipes into models.

    Attributes:
        fingerprint: of the model given.
        prepared: the normalized, folded model that every recipe starts from.
        rules: which int8 patterns the runtime fuses.
        quantizer: the units of the prepared model.
    """

    def __init__(self, prepared: onnx.ModelProto, runtime: str, fingerprint: str) -> None:
        """Finds the units of a prepared model.

        Args:
            prepared: what ``prepare`` gave.
            runtime: name of the runtime.
            fingerprint: of the model as it came in.
        """
        self.runtime = runtime
        self.fingerprint = fingerprint
        self.prepared = prepared
        self.rules = get_runtime(runtime).quantization
        self.quantizer = Quantizer(prepared, self.rules, _float_tensors(prepared))

    def freeze(self, recipe: Recipe, statistics: Statistics | None) -> FrozenRecipe:
        """Takes from the statistics what the recipe needs.

        Raises:
            RecipeError: when the recipe does not fit the model or the statistics.
        """
        payload = None
        if recipe.quantize is not None:
            if statistics is None and self.quantizer.plan(recipe.quantize).int8_units:
                raise RecipeError("the recipe needs calibration statistics to find its ranges; give --data")
            payload = self.quantizer.resolve(recipe.quantize, statistics or Statistics({}, 0))
        return FrozenRecipe(recipe, self.fingerprint, self.runtime, payload)

    def build(self, frozen: FrozenRecipe) -> onnx.ModelProto:
        """Makes the candidate; the same frozen recipe always gives the same bytes.

        Raises:
            RecipeError: when the recipe does not fit the model, or lacks data.
        """
        config = frozen.recipe.quantize
        if config is None:
            return self.prepared
        if frozen.payload is None:
            frozen = self.freeze(frozen.recipe, None)
        assert frozen.payload is not None
        return self.quantizer.emit(config, frozen.payload)


def prepare(model: onnx.ModelProto) -> onnx.ModelProto:
    """The normalized, folded form that recipes work on."""
    return fold(normalize(model))


def apply_recipe(frozen: FrozenRecipe, model: onnx.ModelProto, statistics: Statistics | None = None) -> onnx.ModelProto:
    """Applies a recipe to a model, as ``autocompress apply`` does.

    Args:
        frozen: the recipe.
        model: the model it was made for, as loaded.
        statistics: needed only where the recipe carries no ranges.

    Raises:
        RecipeError: when the recipe was made for another model, or needs data that was not given.
    """
    loaded = load_model(model)
    builder = CandidateBuilder(prepare(loaded), frozen.runtime, fingerprint(loaded))
    if frozen.model_fingerprint and frozen.model_fingerprint != builder.fingerprint:
        raise RecipeError(
            f"the recipe was made for a model with fingerprint {frozen.model_fingerprint[:12]}, "
            f"this one has {builder.fingerprint[:12]}; give the model that was compressed"
        )
    if not frozen.recipe.fold:
        return loaded
    if frozen.payload is None and statistics is not None:
        frozen = builder.freeze(frozen.recipe, statistics)
    return builder.build(frozen)


def _float_tensors(model: onnx.ModelProto) -> frozenset[str]:
    types = element_types(infer_shapes(model))
    return frozenset(name for name, kind in types.items() if kind == onnx.TensorProto.FLOAT)
