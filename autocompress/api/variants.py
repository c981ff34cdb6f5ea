"""A model and what compression may make of it, as far as operators are concerned."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from autocompress.graph.model import fingerprint
from autocompress.passes.quantize import FP32, INT8, INT8_DYNAMIC, QuantizeConfig
from autocompress.recipe.any_ranges import any_ranges
from autocompress.recipe.builder import CandidateBuilder, prepare
from autocompress.recipe.recipe import FrozenRecipe, Recipe


def model_variants(model: onnx.ModelProto, runtime: str) -> Iterator[onnx.ModelProto]:
    """The model itself, then one kind of compressed form after the other; each kind has a generator below.

    Args:
        model: as given by the user.
        runtime: name of the runtime, whose integer kernels decide what can be quantized.
    """
    yield model
    yield from _quantized(model, runtime)


def _quantized(model: onnx.ModelProto, runtime: str) -> Iterator[onnx.ModelProto]:
    """All int8, two that alternate precisions (they show the boundaries), and all dynamic int8 where possible."""
    builder = CandidateBuilder(prepare(model), runtime, fingerprint(model))
    units = builder.quantizer.units
    if not units:
        return
    payload = any_ranges(builder)
    assignments = [
        [INT8] * len(units),
        [INT8 if i % 2 else FP32 for i in range(len(units))],
        [FP32 if i % 2 else INT8 for i in range(len(units))],
    ]
    if any(INT8_DYNAMIC in u.options for u in units):
        assignments.append([INT8_DYNAMIC if INT8_DYNAMIC in u.options else FP32 for u in units])
    for precisions in assignments:
        config = QuantizeConfig().with_precisions({u.name: p for u, p in zip(units, precisions, strict=True)})
        yield builder.build(FrozenRecipe(Recipe(config), builder.fingerprint, runtime, {"quantize": payload}))
