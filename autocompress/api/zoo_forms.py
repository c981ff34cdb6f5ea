"""Quantizes the networks of the zoo as a search quantizes a model, so that tables know the operators of candidates."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto

from autocompress.graph.model import fingerprint
from autocompress.latency.zoo.variant import Quantize, Variant
from autocompress.passes.quantize import FP32, INT8, INT8_DYNAMIC, QuantizeConfig
from autocompress.passes.quantize.units import Unit
from autocompress.recipe.any_ranges import any_ranges
from autocompress.recipe.builder import CandidateBuilder, prepare
from autocompress.recipe.recipe import FrozenRecipe, Recipe


def zoo_quantizer(runtime: str) -> Quantize:
    """What quantizes the placed variants of the zoo for a runtime; see ``zoo_models``.

    Args:
        runtime: its name; its integer kernels decide which operators have a precision.
    """

    def quantize(model: ModelProto, variant: Variant) -> ModelProto:
        builder = CandidateBuilder(prepare(model), runtime, fingerprint(model))
        rng = np.random.default_rng(variant.seed)
        config = QuantizeConfig(
            activation_dtype=variant.activation_dtype,
            weight_dtype=variant.weight_dtype,
            weight_granularity="per_channel" if variant.per_channel else "per_tensor",
            precision=FP32,
        ).with_precisions({unit.name: _drawn(unit, variant, rng) for unit in builder.quantizer.units})
        return builder.build(
            FrozenRecipe(Recipe(config), builder.fingerprint, runtime, {"quantize": any_ranges(builder)})
        )

    return quantize


def _drawn(unit: Unit, variant: Variant, rng: np.random.Generator) -> str:
    if rng.random() < variant.int8_share:
        return INT8
    return INT8_DYNAMIC if variant.dynamic and INT8_DYNAMIC in unit.options else FP32
