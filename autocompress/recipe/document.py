"""What ``recipe.json`` and ``recipe.npz`` hold, and back.

Format 1 knows the quantize step alone, whose payload is the document's ``data``.  Format 2 has a payload per step, and
arrays beside it.  A recipe is written in the oldest format that can say it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autocompress.errors import RecipeError
from autocompress.recipe.packed import Array, Arrays, Packed, digest_of
from autocompress.recipe.recipe import FrozenRecipe, Recipe, digest
from autocompress.recipe.steps import STEP, STEPS

FORMAT_VERSION = 2
_ARRAYS = "arrays"


def to_document(frozen: FrozenRecipe) -> tuple[dict[str, Any], dict[str, Array]]:
    """The JSON-ready document, and the arrays that go beside it (none in format 1)."""
    packed = {name: STEP[name].pack(payload) for name, payload in frozen.payloads.items()}
    arrays = {f"{name}.{key}": array for name, part in packed.items() for key, array in part.arrays.items()}
    # That format has no place for the steps that came later.
    plain = not arrays and all(frozen.recipe.config_of(s.name) is None for s in STEPS if s.name != "quantize")
    document: dict[str, Any] = {
        "autocompress_recipe": 1 if plain else FORMAT_VERSION,
        "hash": frozen.recipe.hash,
        "model_fingerprint": frozen.model_fingerprint,
        "runtime": frozen.runtime,
        "steps": frozen.recipe.to_steps(),
    }
    if packed:
        data = packed["quantize"].document if plain else {name: part.document for name, part in packed.items()}
        data = {**data, _ARRAYS: digest_of(arrays)} if arrays else data
        document.update(data_hash=digest(data), data=data)
    return document, arrays


def needs_arrays(document: Mapping[str, Any]) -> bool:
    """Whether arrays belong to a document."""
    data = document.get("data")
    return isinstance(data, dict) and document.get("autocompress_recipe") != 1 and _ARRAYS in data


def from_document(document: Mapping[str, Any], arrays: Arrays | None = None) -> FrozenRecipe:
    """Inverse of ``to_document``.

    Raises:
        RecipeError: when the document is no recipe, is of a newer version, or was edited inconsistently, or the arrays
            are not its own.
    """
    version = document.get("autocompress_recipe")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise RecipeError("this file is no recipe: it has no 'autocompress_recipe' version number")
    if version > FORMAT_VERSION:
        raise RecipeError(f"the recipe has format {version}, newer than this version reads ({FORMAT_VERSION})")
    recipe = Recipe.from_steps(document.get("steps"))
    _check_hash(document, "hash", recipe.hash)
    return FrozenRecipe(
        recipe=recipe,
        model_fingerprint=_text(document, "model_fingerprint", ""),
        runtime=_text(document, "runtime", "onnxruntime"),
        payloads={} if document.get("data") is None else _payloads(document, version, recipe, arrays or {}),
    )


def _payloads(document: Mapping[str, Any], version: int, recipe: Recipe, arrays: Arrays) -> dict[str, Any]:
    data = document["data"]
    if not isinstance(data, dict):
        raise _malformed("not an object")
    parts = {"quantize": data} if version == 1 else {name: row for name, row in data.items() if name != _ARRAYS}
    found = {}
    for name, row in parts.items():
        if name not in STEP or (version > 1 and recipe.config_of(name) is None):
            raise _malformed(f"there is no step {name!r}")
        prefix = f"{name}."
        own = {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
        try:
            found[name] = STEP[name].unpack(Packed(row, own))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
            raise _malformed(repr(error)) from error
    _check_hash(document, "data_hash", digest(data))
    return found


def check_arrays(document: Mapping[str, Any], arrays: Arrays, place: str) -> None:
    """Refuses arrays that a document was not written with.

    Raises:
        RecipeError: naming the file they came from.
    """
    if digest_of(arrays) != document["data"][_ARRAYS]:
        raise RecipeError(
            f"{place} does not belong to this recipe: it was changed or is of another run; give both files of one run"
        )


def _malformed(why: str) -> RecipeError:
    return RecipeError(f"the recipe's 'data' is malformed ({why}); give the file as it was written")


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
