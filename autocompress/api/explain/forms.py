"""Integer forms of a float model, built without data: what latency depends on does not depend on ranges."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from autocompress.graph.model import fingerprint
from autocompress.graph.shapes import infer_shapes, static_shapes
from autocompress.latency.estimator import LatencyEstimator
from autocompress.passes.quantize import FP32, INT8, INT8_DYNAMIC, QuantizeConfig
from autocompress.recipe.any_ranges import any_ranges
from autocompress.recipe.builder import CandidateBuilder, prepare
from autocompress.recipe.recipe import FrozenRecipe, Recipe
from autocompress.runtimes.protocol import ExecutedOp
from autocompress.search.prices import OPTIONS, LatencyPrices
from autocompress.search.probes import Probe, fit_prices, probe_recipes, with_options
from autocompress.search.regions import Region, find_regions
from autocompress.search.seeds import LadderProblem

Execute = Callable[[onnx.ModelProto], Sequence[ExecutedOp]]


@dataclass(frozen=True)
class Form:
    """One form of a model as executed.

    Attributes:
        name: "fp32", "int8", "int8_dynamic" or "mixed".
        model: what was executed.
        options: option of each region.
        ops: as executed.
    """

    name: str
    model: onnx.ModelProto
    options: tuple[str, ...]
    ops: tuple[ExecutedOp, ...]


class Forms:
    """The forms of one model.

    Args:
        model: the float model, with every size a number.
        runtime: name of the runtime.
        execute: gives a model as executed.

    Attributes:
        regions: what is chosen together.
        builder: builds the forms.
    """

    def __init__(self, model: onnx.ModelProto, runtime: str, execute: Execute) -> None:
        self.builder = CandidateBuilder(prepare(model), runtime, fingerprint(model))
        self.regions: tuple[Region, ...] = find_regions(self.builder.quantizer.units)
        self._execute = execute
        self._payloads = {"quantize": any_ranges(self.builder)}

    def probes(self) -> dict[str, Form]:
        """All float, all int8, all dynamic where possible, and two that alternate."""
        recipes = probe_recipes(self.regions, QuantizeConfig(), (FP32, INT8, INT8_DYNAMIC))
        return {
            name: self._form(name, recipe, tuple(OPTIONS[o] for o in options))
            for name, (options, recipe) in recipes.items()
        }

    def fastest(self, probes: Mapping[str, Form], estimator: LatencyEstimator) -> Form:
        """The mix of precisions that additive prices call the fastest."""
        prices = self._prices(probes, estimator)
        free = np.where(np.isfinite(prices.region_us), 0.0, np.inf)
        options = tuple(OPTIONS[o] for o in LadderProblem(prices, free).fastest().options)
        recipe = Recipe(with_options(QuantizeConfig(), self.regions, options))
        return self._form("mixed", recipe, options)

    def _prices(self, probes: Mapping[str, Form], estimator: LatencyEstimator) -> LatencyPrices:
        looked_at = {
            name: Probe(tuple(OPTIONS.index(o) for o in form.options), form.ops) for name, form in probes.items()
        }
        shapes = static_shapes(infer_shapes(self.builder.prepared))
        elements = {name: int(np.prod(shape, dtype=np.int64)) for name, shape in shapes.items()}
        return fit_prices(self.builder, self.regions, looked_at, estimator, elements)

    def _form(self, name: str, recipe: Recipe, options: tuple[str, ...]) -> Form:
        model = self.builder.build(FrozenRecipe(recipe, self.builder.fingerprint, self.builder.runtime, self._payloads))
        return Form(name, model, options, tuple(self._execute(model)))
