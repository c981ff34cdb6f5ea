"""Builds candidates of one model: the fold is done once, and what recipes have in common is shared between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx

from autocompress.calibration.statistics import Statistics
from autocompress.errors import RecipeError
from autocompress.graph.model import fingerprint, load_model
from autocompress.graph.normalize import normalize
from autocompress.graph.shapes import element_types, infer_shapes
from autocompress.passes.fold import fold
from autocompress.passes.quantize import QuantizePayload, Quantizer
from autocompress.recipe.recipe import FrozenRecipe, Recipe
from autocompress.recipe.steps import FLOAT_STEPS
from autocompress.runtimes import get_runtime
from autocompress.runtimes.protocol import QuantizationRules


@dataclass(frozen=True, eq=False)
class FloatForm:
    """A float model that recipes quantize.

    Attributes:
        model: after the float steps of the recipes.
        quantizer: its units; quantized weights are shared between recipes.
        payloads: what the float steps learnt.
    """

    model: onnx.ModelProto
    quantizer: Quantizer
    payloads: Mapping[str, Any]


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
        self.rules: QuantizationRules = get_runtime(runtime).quantization
        self._forms: dict[str, FloatForm] = {Recipe().hash: self._new_form(prepared, {}, frozenset())}

    @property
    def quantizer(self) -> Quantizer:
        """The units of the prepared model."""
        return self._forms[Recipe().hash].quantizer

    def form(self, recipe: Recipe, payloads: Mapping[str, Any]) -> FloatForm:
        """The float model that a recipe quantizes.

        Args:
            recipe: whose float steps count.
            payloads: of those steps.

        Raises:
            RecipeError: when a payload is missing or does not fit the model.
        """
        key = recipe.unquantized.hash
        known = self._forms.get(key)
        wanted = {s.name: payloads.get(s.name) for s in FLOAT_STEPS if recipe.config_of(s.name) is not None}
        if known is not None and all(known.payloads[name] is payload for name, payload in wanted.items()):
            return known
        model, stay_float = self.prepared, set[str]()
        for step in FLOAT_STEPS:
            if step.name not in wanted:
                continue
            if wanted[step.name] is None:
                raise RecipeError(f"the recipe's {step.name} step still has to learn from samples; give --data")
            assert step.apply is not None
            model = step.apply(model, recipe.config_of(step.name), wanted[step.name])
            stay_float.update(step.stay_float(model, wanted[step.name]))
        self._forms[key] = self._new_form(model, wanted, frozenset(stay_float))
        return self._forms[key]

    def freeze(
        self, recipe: Recipe, statistics: Statistics | None, payloads: Mapping[str, Any] | None = None
    ) -> FrozenRecipe:
        """Takes from the statistics what quantization needs.

        Args:
            recipe: the choices.
            statistics: of the float model that is quantized (see ``form``).
            payloads: what its other steps have learnt.

        Raises:
            RecipeError: when the recipe does not fit the model, the statistics or the payloads.
        """
        known = dict(payloads or {})
        if recipe.quantize is None:
            return FrozenRecipe(recipe, self.fingerprint, self.runtime, known)
        quantizer = self.form(recipe, known).quantizer
        if statistics is None and quantizer.plan(recipe.quantize).int8_units:
            raise RecipeError("the recipe needs calibration statistics to find its ranges; give --data")
        known["quantize"] = quantizer.resolve(recipe.quantize, statistics or Statistics({}, 0))
        return FrozenRecipe(recipe, self.fingerprint, self.runtime, known)

    def build(self, frozen: FrozenRecipe, *, simulate: bool = False) -> onnx.ModelProto:
        """Makes the candidate; the same frozen recipe always gives the same bytes.

        Args:
            frozen: the recipe.
            simulate: makes a float model that rounds as the candidate does, instead of that.

        Raises:
            RecipeError: when the recipe does not fit the model, or lacks data, or its candidate cannot be simulated.
        """
        config = frozen.recipe.quantize
        form = self.form(frozen.recipe, frozen.payloads)
        if config is None:
            return form.model
        payload = frozen.payload
        if payload is None:
            payload = self.freeze(frozen.recipe, None, frozen.payloads).payload
        assert isinstance(payload, QuantizePayload)
        rounded = None if frozen.recipe.reconstruct is None else frozen.payloads.get("reconstruct")
        if frozen.recipe.reconstruct is not None:
            if rounded is None:
                raise RecipeError("the recipe's reconstruct step still has to learn from samples; give --data")
            if simulate and rounded.trained:
                raise RecipeError(
                    "a distilled candidate has no simulation in floating point: what was trained are the numbers "
                    "of its integer kernels; apply the recipe without simulating"
                )
            payload = rounded.applied_to(payload)
        model = form.quantizer.emit(config, payload, simulate=simulate)
        if rounded is not None:
            model = rounded.finished(model)
        if not simulate:
            form.quantizer.pad_channels(config, model)
        return model

    def _new_form(self, model: onnx.ModelProto, payloads: Mapping[str, Any], stay_float: frozenset[str]) -> FloatForm:
        return FloatForm(model, Quantizer(model, self.rules, _float_tensors(model), stay_float), payloads)


def prepare(model: onnx.ModelProto) -> onnx.ModelProto:
    """The normalized, folded form that recipes work on."""
    return fold(normalize(model))


def builder_for(frozen: FrozenRecipe, model: onnx.ModelProto) -> CandidateBuilder:
    """A builder for the model that a recipe was made for.

    Args:
        frozen: the recipe.
        model: as loaded.

    Raises:
        RecipeError: when the recipe was made for another model.
    """
    found = fingerprint(model)
    if frozen.model_fingerprint and frozen.model_fingerprint != found:
        raise RecipeError(
            f"the recipe was made for a model with fingerprint {frozen.model_fingerprint[:12]}, "
            f"this one has {found[:12]}; give the model that was compressed"
        )
    return CandidateBuilder(prepare(model), frozen.runtime, found)


def apply_recipe(
    frozen: FrozenRecipe, model: onnx.ModelProto, statistics: Statistics | None = None, *, simulate: bool = False
) -> onnx.ModelProto:
    """Applies a recipe to a model, as ``autocompress apply`` does.

    Args:
        frozen: the recipe.
        model: the model it was made for, as loaded.
        statistics: of the float model that is quantized; needed only where the recipe carries no ranges.
        simulate: see ``CandidateBuilder.build``.

    Raises:
        RecipeError: when the recipe was made for another model, or needs data that was not given.
    """
    loaded = load_model(model)
    builder = builder_for(frozen, loaded)
    if not frozen.recipe.fold:
        return loaded
    if frozen.payload is None and statistics is not None:
        frozen = builder.freeze(frozen.recipe, statistics, frozen.payloads)
    return builder.build(frozen, simulate=simulate)


def _float_tensors(model: onnx.ModelProto) -> frozenset[str]:
    types = element_types(infer_shapes(model))
    return frozenset(name for name, kind in types.items() if kind == onnx.TensorProto.FLOAT)
