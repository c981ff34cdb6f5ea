"""``recipe.json``, with ``recipe.npz`` beside it where a recipe holds more numbers than a text should."""

from __future__ import annotations

import contextlib
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from autocompress.errors import RecipeError, StorageError
from autocompress.files import replacing, write_text
from autocompress.recipe.document import check_arrays, from_document, needs_arrays, to_document
from autocompress.recipe.packed import Array
from autocompress.recipe.recipe import FrozenRecipe

RECIPE, RECIPE_ARRAYS = "recipe.json", "recipe.npz"


def to_json(frozen: FrozenRecipe) -> str:
    """The text of ``recipe.json``."""
    return _text(to_document(frozen)[0])


def write_recipe(frozen: FrozenRecipe, path: str | Path) -> tuple[Path, ...]:
    """Writes a recipe; its arrays come first, so that whoever sees the text finds them.

    Arrays that an older recipe left in the same place are removed.

    Returns:
        The files written.

    Raises:
        StorageError: when they cannot be written.
    """
    place = Path(path)
    beside = arrays_path(place)
    document, arrays = to_document(frozen)
    if arrays:
        save_arrays(arrays, beside)
    write_text(place, _text(document))
    if not arrays:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
    return (beside, place) if arrays else (place,)


def read_recipe(path: str | Path) -> FrozenRecipe:
    """Reads what ``write_recipe`` wrote.

    Raises:
        RecipeError: when a file is missing, cannot be read, is no recipe, or the two do not belong together.
    """
    place = Path(path)
    document = _document(place)
    try:
        arrays = None
        if needs_arrays(document):
            arrays = _arrays(arrays_path(place))
            check_arrays(document, arrays, str(arrays_path(place)))
        return from_document(document, arrays)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error


def arrays_path(recipe: Path) -> Path:
    """Where the arrays of a recipe are."""
    return recipe.with_suffix(".npz")


def save_arrays(arrays: dict[str, Array], path: Path) -> None:
    """Writes an ``.npz`` file, whole or not at all; the same arrays give the same bytes.

    Raises:
        StorageError: when it cannot be written.
    """
    try:
        with replacing(path) as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
    except OSError as error:
        raise StorageError(f"{path} cannot be written ({error.strerror}); give another place") from error


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"cannot read the recipe {path}: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecipeError(f"the recipe {path} is not JSON ({error}); give the recipe.json of a run") from error
    if not isinstance(document, dict):
        raise RecipeError(f"the recipe {path} is not a JSON object; give the recipe.json of a run")
    return document


def _arrays(path: Path) -> dict[str, Array]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise RecipeError(f"{path.name} is missing beside it; copy both files of the run") from error
    except OSError as error:
        raise RecipeError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise RecipeError(f"{path} is damaged ({error!r}); copy both files of the run again") from error


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1) + "\n"
