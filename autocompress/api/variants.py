"""A model and what compression may make of it, as far as operators are concerned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx

from autocompress.errors import RecipeError
from autocompress.graph.channels import analyse_channels
from autocompress.graph.model import fingerprint
from autocompress.passes.prune import PruneConfig, prune
from autocompress.passes.prune import resolve as resolve_pruning
from autocompress.passes.quantize import FP32, INT4_WEIGHT_ONLY, INT8, INT8_DYNAMIC, QuantizeConfig
from autocompress.passes.quantize.units import Unit
from autocompress.recipe.any_ranges import any_ranges
from autocompress.recipe.builder import CandidateBuilder, prepare
from autocompress.recipe.recipe import FrozenRecipe, Recipe

_PRUNED = 0.25  # of each group's channels: a width that blocks of 8 and 16 fit is left of the usual ones
_FEWEST_TO_PRUNE = 8


def model_variants(model: onnx.ModelProto, runtime: str) -> Iterator[onnx.ModelProto]:
    """The model itself, then one kind of compressed form after the other; each kind has a generator below.

    Args:
        model: as given by the user.
        runtime: name of the runtime, whose integer kernels decide what can be quantized.
    """
    yield model
    builder = CandidateBuilder(prepare(model), runtime, fingerprint(model))
    yield from _quantized(builder)
    yield from _pruned(builder)


def _quantized(builder: CandidateBuilder) -> Iterator[onnx.ModelProto]:
    """All int8; two that alternate precisions (they show the boundaries); dynamic int8, and 4-bit weights."""
    units = builder.quantizer.units
    if not units:
        return
    yield _built(builder, dict.fromkeys((u.name for u in units), INT8))
    for parity in (1, 0):
        yield _built(builder, {u.name: INT8 if i % 2 == parity else FP32 for i, u in enumerate(units)})
    for precision in (INT8_DYNAMIC, INT4_WEIGHT_ONLY):
        if any(precision in u.all_options for u in units):
            yield _built(builder, {u.name: _else_float(u, precision) for u in units})


def _pruned(builder: CandidateBuilder) -> Iterator[onnx.ModelProto]:
    """Narrower in every group of channels, in float and in int8; nothing where no channel can leave the model."""
    analysis = analyse_channels(builder.prepared)
    ratios = tuple((group.name, _PRUNED) for group in analysis.groups if group.size >= _FEWEST_TO_PRUNE)
    try:
        config = PruneConfig(ratios)
        payload = resolve_pruning(builder.prepared, config, analysis=analysis)
        narrow = prune(builder.prepared, config, payload, analysis)
    except RecipeError:  # groups that cannot lose so many at once: a search tries milder ratios
        return
    if not payload.kept:
        return
    yield narrow
    narrower = CandidateBuilder(narrow, builder.runtime, fingerprint(narrow))
    if units := narrower.quantizer.units:
        yield _built(narrower, dict.fromkeys((u.name for u in units), INT8))


def _built(builder: CandidateBuilder, precisions: Mapping[str, str]) -> onnx.ModelProto:
    """A candidate whose ranges were never measured: latency does not depend on them."""
    recipe = Recipe(QuantizeConfig().with_precisions(precisions))
    return builder.build(FrozenRecipe(recipe, builder.fingerprint, builder.runtime, {"quantize": any_ranges(builder)}))


def _else_float(unit: Unit, precision: str) -> str:
    return precision if precision in unit.all_options else FP32
