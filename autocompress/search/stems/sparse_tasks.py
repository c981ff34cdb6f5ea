"""What workers do for sparse stems: say what patterns would do to layers, and look at sparse models.

Nothing is kept: a model that is only looked at leaves no files behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from autocompress.errors import CandidateFailed, DataError, ModelError, RecipeError, RuntimeFailure
from autocompress.graph.transfer_size import deflated_bytes
from autocompress.passes.quantize import QuantizeConfig
from autocompress.passes.sparsify import SparsifyConfig, resolve, sparsifiable_layers, sparsify
from autocompress.passes.sparsify.candidates import Candidate, candidates
from autocompress.passes.sparsify.masks import DoubleArray
from autocompress.passes.sparsify.norms import input_norms
from autocompress.recipe.recipe import Recipe
from autocompress.runtimes.protocol import ExecutedOp
from autocompress.search.attribution import attribute_ops
from autocompress.search.stems.looking import executed, float_damage, quantized
from autocompress.search.tasks import bench
from autocompress.search.workbench import Workbench


@dataclass(frozen=True)
class SparseLook:
    """A sparse model that nothing was recovered in.

    Attributes:
        ops: of its quantized form, as executed.
        layers: for each of them the name of the unit that it executes, or "".
        size_bytes: of the file of that.
        deflate_bytes: of that file compressed by deflate.
        damage: of the float model at the output, against the original; inf where it gives no finite numbers; 0 where
            nobody asked.
    """

    ops: tuple[ExecutedOp, ...] = ()
    layers: tuple[str, ...] = ()
    size_bytes: int = 0
    deflate_bytes: int = 0
    damage: float = 0.0


def sparse_candidates(
    base: Recipe, criterion: str, patterns: Sequence[str], int8: bool, every: bool
) -> list[Candidate]:
    """What each pattern would do to each layer of a stem.

    Args:
        base: the stem.
        criterion: "magnitude" or "wanda".
        patterns: to try.
        int8: whether its weights will be stored as int8.
        every: whether also those are wanted that another one beats in bytes and error.

    Raises:
        CandidateFailed: when the stem cannot be made, or its layers see no finite numbers.
    """
    tools = bench()
    try:
        model = _base_model(tools, base)
        layers, _ = sparsifiable_layers(model)
        return candidates(layers, patterns, criterion, _norms(tools, base, model), int8=int8, every=every)
    except (RecipeError, ModelError, DataError, RuntimeFailure) as error:
        raise CandidateFailed(str(error)) from error


def look(base: Recipe, config: SparsifyConfig | None, quantize: QuantizeConfig | None, samples: int) -> SparseLook:
    """Makes a stem sparse, and looks at it.

    Args:
        base: the stem.
        config: of the zeros; None leaves it dense.
        quantize: how to quantize it, for operators and sizes; None asks for neither.
        samples: of the search part, for the damage; 0 measures none.

    Raises:
        CandidateFailed: when the model cannot be made or run.
    """
    tools = bench()
    try:
        model = _sparse_model(tools, base, config)
        damage = float_damage(tools, model, samples) if samples else 0.0
        if quantize is None:
            return SparseLook(damage=damage)
        serialized = quantized(tools, model, quantize)
        ops = executed(tools, serialized)
        units = tools.builder.form(base, tools.freezer.payloads(base)).quantizer.units
        layers = tuple("" if i is None else units[i].name for i in attribute_ops(ops, units))
        return SparseLook(ops, layers, len(serialized), deflated_bytes(serialized), damage)
    except (RecipeError, ModelError, DataError, RuntimeFailure) as error:
        raise CandidateFailed(f"the model cannot be made sparse so: {error}") from error


def time_operators(base: Recipe, config: SparsifyConfig, quantize: QuantizeConfig, budget_s: float) -> None:
    """Times the operators of a sparse, quantized model that no table knows.

    Raises:
        CandidateFailed: when the model cannot be made or loaded.
    """
    tools = bench()
    try:
        tools.profile(quantized(tools, _sparse_model(tools, base, config), quantize), budget_s)
    except (RecipeError, ModelError, DataError, RuntimeFailure) as error:
        raise CandidateFailed(f"the model cannot be made sparse so: {error}") from error


def _base_model(tools: Workbench, base: Recipe) -> onnx.ModelProto:
    return tools.builder.form(base, tools.freezer.payloads(base)).model


def _sparse_model(tools: Workbench, base: Recipe, config: SparsifyConfig | None) -> onnx.ModelProto:
    model = _base_model(tools, base)
    if config is None:
        return model
    norms = _norms(tools, base, model) if config.criterion == "wanda" else None
    return sparsify(model, config, resolve(model, config, tools.samples.batches, norms=norms))


def _norms(tools: Workbench, base: Recipe, model: onnx.ModelProto) -> dict[str, DoubleArray]:
    """Norms of the inputs of all layers, found once per stem and process."""
    if base.hash not in tools.input_norms:
        layers, _ = sparsifiable_layers(model)
        tools.input_norms[base.hash] = input_norms(model, layers, tools.samples.batches) if layers else {}
    return tools.input_norms[base.hash]
