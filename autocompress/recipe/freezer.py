"""Finds what recipes have to learn from samples, once: in memory, and in a folder that processes share.

The folder holds, under the hash of the steps that they belong to, statistics (``statistics-<hash>.npz``) and payloads
(frozen recipes ``payloads-<hash>.json``).  All is a function of model, samples and steps, so it does not matter
which process writes it; but where training or rounding ended by the clock, whoever wrote first is right.  What stems
and rounded weights have learnt may lie in a folder of its own, because it may be worth keeping.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import onnx

from autocompress.calibration.statistics import Statistics
from autocompress.errors import RecipeError
from autocompress.passes.equalize.step import changed_tensors
from autocompress.passes.reconstruct import Lesson, ReconstructPayload
from autocompress.passes.reconstruct import resolve as resolve_rounding
from autocompress.progress import Progress
from autocompress.recipe.builder import CandidateBuilder
from autocompress.recipe.calibration import CalibrationSamples
from autocompress.recipe.files import read_recipe, write_recipe
from autocompress.recipe.recipe import FrozenRecipe, Recipe
from autocompress.recipe.steps import FLOAT_STEPS, Effort, Evidence

_LATE_ROUNDING_S = 120.0
"""For weights that were rounded once, and whose integers somebody has removed since."""


class Freezer:
    """Freezes recipes of one model.

    Attributes:
        builder: of the model.
    """

    def __init__(
        self,
        builder: CandidateBuilder,
        samples: CalibrationSamples | None = None,
        folder: Path | None = None,
        known: FrozenRecipe | None = None,
        *,
        stems: Path | None = None,
        unfolded: Callable[[], onnx.ModelProto] | None = None,
    ) -> None:
        """Stores where things are.

        Args:
            builder: of the model.
            samples: to learn from; None where everything needed is in the folder already.
            folder: shared by processes; None keeps everything in memory.
            known: what was learnt of one recipe before; it is kept.
            stems: folder for what stems and rounded weights have learnt; ``folder`` unless given.
            unfolded: gives the normalized model before it was folded, for steps that read what folding hides.
        """
        self.builder = builder
        self._samples = samples
        self._folder = folder
        self._stems = stems or folder
        self._unfolded = unfolded
        self._known = known
        self._statistics: dict[str, Statistics] = {}
        self._payloads: dict[str, dict[str, Any]] = {}
        self._rounded: dict[str, ReconstructPayload] = {}

    def freeze(self, recipe: Recipe) -> FrozenRecipe:
        """The recipe with everything that it has to learn.

        Raises:
            RecipeError: when it does not fit the model, or there are no samples to learn from.
        """
        found = self.payloads(recipe)
        if recipe.quantize is not None:
            found["quantize"] = self._quantized(recipe, found)
        if recipe.reconstruct is not None:
            found["reconstruct"] = self.reconstruct(recipe, found)
        return FrozenRecipe(recipe, self.builder.fingerprint, self.builder.runtime, found)

    def reconstruct(
        self,
        recipe: Recipe,
        payloads: Mapping[str, Any] | None = None,
        *,
        progress: Progress | None = None,
        deadline_s: float | None = None,
    ) -> ReconstructPayload:
        """The rounded weights of a recipe, found now where nobody found them yet.

        Args:
            recipe: with a reconstruct step.
            payloads: of the steps before, where they are at hand.
            progress: is told about layers done.
            deadline_s: seconds to stay within; what is found then stands for the recipe.
        """
        if recipe.hash not in self._rounded:
            stored = self._stored(recipe)
            self._rounded[recipe.hash] = (
                stored["reconstruct"] if stored is not None else self._round(recipe, payloads, progress, deadline_s)
            )
        return self._rounded[recipe.hash]

    def _round(
        self, recipe: Recipe, payloads: Mapping[str, Any] | None, progress: Progress | None, deadline_s: float | None
    ) -> ReconstructPayload:
        assert recipe.quantize is not None and recipe.reconstruct is not None
        found = dict(payloads or self.freeze(recipe.before("reconstruct")).payloads)
        samples = self._given()
        form = self.builder.form(recipe, found)
        found["reconstruct"] = resolve_rounding(
            form.model,
            form.quantizer,
            recipe.quantize,
            found["quantize"],
            recipe.reconstruct,
            samples.batches,
            progress=progress,
            deadline_s=deadline_s,
            lesson=self._lesson(recipe),
        )
        self._store(recipe, found)
        return cast(ReconstructPayload, found["reconstruct"])

    def _lesson(self, recipe: Recipe) -> Lesson | None:
        training = None if recipe.reconstruct is None else recipe.reconstruct.training
        if training is None:
            return None
        samples = self._given()
        return Lesson(
            self.builder.prepared,
            samples.unlabelled,
            samples.labels() if training.label_weight > 0 else None,
            same_inside=recipe.equalize is None,
            checkpoint=self._checkpoint(recipe),
        )

    def _checkpoint(self, recipe: Recipe) -> Path | None:
        if self._stems is None:
            return None
        self._stems.mkdir(parents=True, exist_ok=True)
        return checkpoint_path(self._stems, recipe)

    def _quantized(self, recipe: Recipe, payloads: Mapping[str, Any]) -> Any:
        if self._is_known(recipe, "quantize"):
            assert self._known is not None
            return self._known.payloads["quantize"]
        return self.builder.freeze(recipe.up_to("quantize"), self.statistics(recipe), payloads).payload

    def prepare(self, recipe: Recipe) -> None:
        """Finds or reads all that ``freeze`` will need."""
        self.builder.form(recipe, self.payloads(recipe))
        if recipe.quantize is not None:
            self.statistics(recipe)
        if recipe.reconstruct is not None:
            self.reconstruct(recipe, deadline_s=_LATE_ROUNDING_S)

    def payloads(self, recipe: Recipe, effort: Effort | None = None) -> dict[str, Any]:
        """What the float steps of a recipe learn, each from the model that the steps before it give.

        Args:
            recipe: the recipe.
            effort: of steps that train and nobody has trained yet.
        """
        found: dict[str, Any] = {}
        for step in FLOAT_STEPS:
            if recipe.config_of(step.name) is None:
                continue
            prefix = recipe.up_to(step.name)
            if prefix.hash not in self._payloads:
                self._payloads[prefix.hash] = self._stored(prefix) or self._learnt(prefix, step.name, found, effort)
            found = self._payloads[prefix.hash]
        return dict(found)

    def statistics(self, recipe: Recipe) -> Statistics:
        """Statistics of the float model that a recipe quantizes."""
        part = recipe.unquantized
        if part.hash not in self._statistics:
            path = self._statistics_path(part)
            if path is not None and path.is_file():
                self._statistics[part.hash] = Statistics.load(path)
            else:
                self._statistics[part.hash] = self._collected(part)
                if path is not None:
                    self._statistics[part.hash].save(path)
        return self._statistics[part.hash]

    def _collected(self, part: Recipe) -> Statistics:
        """From the samples: of every tensor that quantization may need and the steps before have changed."""
        samples = self._given()
        form = self.builder.form(part, self.payloads(part))
        wanted = form.quantizer.tensors
        if part.equalize is None:
            return samples.collect(form.model, wanted)
        plain = part.before("equalize")
        before = self.statistics(plain)
        model = self.builder.form(plain, self.payloads(plain)).model
        changed = changed_tensors(model, form.payloads["equalize"], before)
        again = [name for name in wanted if changed is None or name in changed or name not in before]
        return before.with_tensors(samples.collect(form.model, again)) if again else before

    def _learnt(self, prefix: Recipe, name: str, before: dict[str, Any], effort: Effort | None) -> dict[str, Any]:
        step = next(step for step in FLOAT_STEPS if step.name == name)
        assert step.resolve is not None
        earlier = prefix.before(name)
        model = self.builder.form(earlier, before).model
        samples = self._given()
        evidence = Evidence(
            statistics=lambda: self.statistics(earlier),
            batches=samples.batches,
            unlabelled=samples.unlabelled,
            original=self.builder.prepared,
            effort=effort or Effort(),
            labels=samples.labels,
            unfolded=self._unfolded,
        )
        found = {**before, name: step.resolve(model, prefix.config_of(name), evidence)}
        self._store(prefix, found)
        return found

    def _store(self, prefix: Recipe, payloads: Mapping[str, Any]) -> None:
        path = self._payload_path(prefix)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_recipe(FrozenRecipe(prefix, self.builder.fingerprint, self.builder.runtime, payloads), path)

    def _stored(self, prefix: Recipe) -> dict[str, Any] | None:
        if self._is_known(prefix, prefix.last):
            assert self._known is not None
            return {name: payload for name, payload in self._known.payloads.items() if prefix.config_of(name)}
        path = self._payload_path(prefix)
        return dict(read_recipe(path).payloads) if path is not None and path.is_file() else None

    def _is_known(self, recipe: Recipe, name: str) -> bool:
        known = self._known
        return known is not None and name in known.payloads and known.recipe.up_to(name) == recipe.up_to(name)

    def _given(self) -> CalibrationSamples:
        if self._samples is None:
            raise RecipeError("the recipe still has to learn from samples; give --data")
        return self._samples

    def _statistics_path(self, part: Recipe) -> Path | None:
        return None if self._folder is None else self._folder / f"statistics-{part.hash}.npz"

    def _payload_path(self, prefix: Recipe) -> Path | None:
        costly = prefix == prefix.float_part or prefix.reconstruct is not None
        folder = self._stems if costly else self._folder
        return None if folder is None else payload_path(folder, prefix)


def payload_path(folder: Path, prefix: Recipe) -> Path:
    """Where a folder holds what steps have learnt."""
    return folder / f"payloads-{prefix.hash}.json"


def checkpoint_path(folder: Path, recipe: Recipe) -> Path:
    """Where a folder holds how far a training is."""
    return folder / f"training-{recipe.hash}.npz"
