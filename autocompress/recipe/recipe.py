"""A Recipe is what to do, as data; a FrozenRecipe also carries what was learnt from weights and samples."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from autocompress.errors import RecipeError
from autocompress.passes.decompose import DecomposeConfig
from autocompress.passes.downsample import DownsampleConfig
from autocompress.passes.equalize.step import EqualizeConfig
from autocompress.passes.prune import PruneConfig
from autocompress.passes.quantize import QuantizeConfig, QuantizePayload
from autocompress.passes.reconstruct import ReconstructConfig
from autocompress.passes.recover import RecoverConfig
from autocompress.passes.sparsify import SparsifyConfig
from autocompress.recipe.steps import STEM_STEPS, STEP, STEPS

_ORDER = ("fold", *(step.name for step in STEPS))


@dataclass(frozen=True)
class Recipe:
    """Ordered step configurations that turn a model into a candidate; None leaves a step out.

    Attributes:
        quantize: precisions and integers; without it the candidate stays in floating point.
        fold: whether the model is normalized and folded first; without it the recipe leaves the model as it is.
        equalize: scaling that keeps the float function.
        reconstruct: rounding of the quantized weights by what it does to outputs.
        downsample: size of a smaller image that the layers read.
        decompose: layers that become two or three smaller ones.
        prune: channels that go.
        sparsify: weights that become zero.
        recover: training of what is left, with the original as its teacher.
    """

    quantize: QuantizeConfig | None = None
    fold: bool = True
    equalize: EqualizeConfig | None = None
    reconstruct: ReconstructConfig | None = None
    decompose: DecomposeConfig | None = None
    prune: PruneConfig | None = None
    sparsify: SparsifyConfig | None = None
    recover: RecoverConfig | None = None
    downsample: DownsampleConfig | None = None

    @property
    def hash(self) -> str:
        """12 hex digits that identify the choices (not the data, not the model)."""
        return digest(self.to_steps())

    @property
    def float_part(self) -> Recipe:
        """The stem: the steps that give the float model on which units, prices and statistics depend."""
        return _without(self, [step.name for step in STEPS if not step.stem])

    def on(self, stem: Recipe) -> Recipe:
        """The same steps after the stem, on another stem."""
        return replace(self, **{step.name: stem.config_of(step.name) for step in STEM_STEPS})

    @property
    def quantized_part(self) -> Recipe:
        """The steps that are not of the stem."""
        return _without(replace(self, fold=False), [step.name for step in STEPS if step.stem])

    @property
    def unquantized(self) -> Recipe:
        """All steps up to the float model that is quantized."""
        return _without(self, [step.name for step in STEPS if step.apply is None])

    @property
    def last(self) -> str:
        """Name of its last step."""
        return [str(step["step"]) for step in self.to_steps()][-1] if self.fold else ""

    def before(self, name: str) -> Recipe:
        """The steps before the one of a name."""
        return _without(self.up_to(name), [name])

    def up_to(self, name: str) -> Recipe:
        """The steps up to and including the one of a name."""
        names = [step.name for step in STEPS]
        return _without(self, names[names.index(name) + 1 :])

    def config_of(self, name: str) -> Any:
        """Configuration of a step, or None."""
        return getattr(self, name)

    def to_steps(self) -> list[dict[str, Any]]:
        """JSON-ready list of steps, in order."""
        steps: list[dict[str, Any]] = [{"step": "fold"}] if self.fold else []
        for step in STEPS:
            config = self.config_of(step.name)
            if config is not None:
                steps.append({"step": step.name, "config": config.to_dict()})
        return steps

    @classmethod
    def from_steps(cls, steps: object) -> Recipe:
        """Inverse of ``to_steps``.

        Raises:
            RecipeError: on an unknown step, a wrong order or a malformed configuration.
        """
        if not isinstance(steps, list) or not all(isinstance(s, dict) and "step" in s for s in steps):
            raise RecipeError("a recipe needs 'steps', a list of objects that each name their 'step'")
        names = [s["step"] for s in steps]
        if not steps:
            return cls(fold=False)
        if names[0] != "fold" or names != [name for name in _ORDER if name in names]:
            raise RecipeError(
                f"the recipe's steps are {names}; this version knows {list(_ORDER)}, in this order, 'fold' always"
            )
        _check_entries(steps[0], {"step"})
        if "reconstruct" in names and "quantize" not in names:
            raise RecipeError("the recipe's reconstruct step rounds what a quantize step makes; add one before it")
        return cls(**{step["step"]: _config(step) for step in steps[1:]})


@dataclass(frozen=True)
class FrozenRecipe:
    """A recipe with everything it took from weights and data, so that it gives the same bytes without data.

    Attributes:
        recipe: the choices.
        model_fingerprint: fingerprint of the model it was made for.
        runtime: runtime whose Q/DQ placement rules it follows.
        payloads: step -> what it learnt; a step whose payload is missing still needs data.
    """

    recipe: Recipe
    model_fingerprint: str
    runtime: str
    payloads: Mapping[str, Any] = field(default_factory=dict)

    @property
    def payload(self) -> QuantizePayload | None:
        """Payload of the quantize step, where there is one."""
        found: QuantizePayload | None = self.payloads.get("quantize")
        return found

    @property
    def missing(self) -> tuple[str, ...]:
        """Steps whose payloads are still to be found, in order."""
        return tuple(s.name for s in STEPS if self.recipe.config_of(s.name) is not None and s.name not in self.payloads)


def digest(document: object) -> str:
    """12 hex digits of a JSON-ready document."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _without(recipe: Recipe, names: Iterable[str]) -> Recipe:
    changes: dict[str, Any] = dict.fromkeys(names)
    return replace(recipe, **changes)


def _config(row: Mapping[str, Any]) -> Any:
    name = row["step"]
    _check_entries(row, {"step", "config"})
    config = row.get("config")
    if not isinstance(config, dict):
        raise RecipeError(f"the recipe's {name} step has no 'config' object")
    return STEP[name].config.from_dict(config)


def _check_entries(row: Mapping[str, Any], known: set[str]) -> None:
    for unknown in sorted(set(row) - known):
        raise RecipeError(f"the recipe's {row['step']} step has an unknown entry {unknown!r}; remove it")
