"""A Recipe is what to do, as data; a FrozenRecipe also carries what was learnt from the calibration data."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autocompress.errors import RecipeError
from autocompress.passes.quantize import QuantizeConfig, QuantizePayload
from autocompress.recipe.arrays import decode_array, encode_array

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Recipe:
    """Ordered step configurations that turn a model into a candidate.

    Attributes:
        quantize: the quantization step, or None to keep the model in floating point.
        fold: whether the model is normalized and folded first; without it the recipe leaves the model as it is.
    """

    quantize: QuantizeConfig | None = None
    fold: bool = True

    @property
    def hash(self) -> str:
        """12 hex digits that identify the choices (not the data, not the model)."""
        return _digest(self.to_steps())

    def to_steps(self) -> list[dict[str, Any]]:
        """JSON-ready list of steps, in order."""
        steps: list[dict[str, Any]] = [{"step": "fold"}] if self.fold else []
        if self.quantize is not None:
            steps.append({"step": "quantize", "config": self.quantize.to_dict()})
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
        if names not in (["fold"], ["fold", "quantize"]):
            raise RecipeError(f"the recipe's steps are {names}; this version knows ['fold'] and ['fold', 'quantize']")
        for step in steps:
            unknown = sorted(set(step) - ({"step", "config"} if step["step"] == "quantize" else {"step"}))
            if unknown:
                raise RecipeError(f"the recipe's {step['step']} step has an unknown entry {unknown[0]!r}; remove it")
        if len(steps) == 1:
            return cls()
        config = steps[1].get("config")
        if not isinstance(config, dict):
            raise RecipeError("the recipe's quantize step has no 'config' object")
        return cls(QuantizeConfig.from_dict(config))


@dataclass(frozen=True)
class FrozenRecipe:
    """A recipe with everything it took from data, so that it gives the same bytes without data.

    Attributes:
        recipe: the choices.
        model_fingerprint: fingerprint of the model it was made for.
        runtime: runtime whose Q/DQ placement rules it follows.
        payload: ranges and corrected biases, or None where data still has to give them.
    """

    recipe: Recipe
    model_fingerprint: str
    runtime: str
    payload: QuantizePayload | None = field(default=None)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        document: dict[str, Any] = {
            "autocompress_recipe": FORMAT_VERSION,
            "hash": self.recipe.hash,
            "model_fingerprint": self.model_fingerprint,
            "runtime": self.runtime,
            "steps": self.recipe.to_steps(),
        }
        if self.payload is not None:
            data = {
                "ranges": {name: list(pair) for name, pair in sorted(self.payload.ranges.items())},
                "biases": {name: encode_array(a) for name, a in sorted(self.payload.biases.items())},
            }
            document.update(data_hash=_digest(data), data=data)
        return document

    def to_json(self) -> str:
        """The text of ``recipe.json``."""
        return json.dumps(self.to_dict(), indent=1) + "\n"

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> FrozenRecipe:
        """Inverse of ``to_dict``.

        Raises:
            RecipeError: when the document is no recipe, is of a newer version, or was edited inconsistently.
        """
        version = document.get("autocompress_recipe")
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise RecipeError("this file is no recipe: it has no 'autocompress_recipe' version number")
        if version > FORMAT_VERSION:
            raise RecipeError(f"the recipe has format {version}, newer than this version reads ({FORMAT_VERSION})")
        recipe = Recipe.from_steps(document.get("steps"))
        _check_hash(document, "hash", recipe.hash)
        payload = None
        if document.get("data") is not None:
            payload = _payload(document["data"])
            _check_hash(document, "data_hash", _digest(document["data"]))
        return cls(
            recipe=recipe,
            model_fingerprint=_text(document, "model_fingerprint", ""),
            runtime=_text(document, "runtime", "onnxruntime"),
            payload=payload,
        )


def read_recipe(path: str | Path) -> FrozenRecipe:
    """Reads ``recipe.json``.

    Raises:
        RecipeError: when the file is missing, no JSON, or no recipe.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"cannot read the recipe {path}: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecipeError(f"the recipe {path} is not JSON ({error}); give the recipe.json of a run") from error
    if not isinstance(document, dict):
        raise RecipeError(f"the recipe {path} is not a JSON object; give the recipe.json of a run")
    try:
        return FrozenRecipe.from_dict(document)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error


def _digest(document: object) -> str:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _check_hash(document: Mapping[str, Any], key: str, found: str) -> None:
    if document.get(key) not in (None, found):
        part = "steps" if key == "hash" else "data"
        raise RecipeError(
            f"the recipe's {part} do not match its {key}: the file was edited; remove the {key!r} line to accept it"
        )


def _text(document: Mapping[str, Any], key: str, default: str) -> str:
    value = document.get(key, default)
    if not isinstance(value, str):
        raise RecipeError(f"the recipe's {key!r} is {value!r}, not a text; give the file as it was written")
    return value


def _payload(data: object) -> QuantizePayload:
    try:
        if not isinstance(data, dict):
            raise TypeError("not an object")
        ranges = {str(name): _range(pair) for name, pair in data["ranges"].items()}
        biases = {str(name): decode_array(a).astype("float32") for name, a in data["biases"].items()}
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise RecipeError(f"the recipe's 'data' is malformed ({error!r}); give the file as it was written") from error
    return QuantizePayload(ranges, biases)


def _range(pair: Any) -> tuple[float, float]:
    low, high = (float(end) for end in pair)
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"{pair} is no range")
    return low, high
