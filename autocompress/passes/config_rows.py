"""What the configurations of all steps have in common when they are read from a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from autocompress.errors import RecipeError


def refuse_unknown(config: type, row: Mapping[str, Any], step: str) -> None:
    """Refuses what a step's configuration does not have.

    Args:
        config: a dataclass.
        row: what a recipe says of it.
        step: name of the step, for the complaint.

    Raises:
        RecipeError: naming the first unknown field.
    """
    known = [field.name for field in fields(config)]
    for name in row:
        if name not in known:
            raise RecipeError(f"{step} step: unknown field {name!r}; it must be one of {', '.join(known)}")


def with_pairs(row: Mapping[str, Any], name: str, step: str, meaning: str) -> dict[str, Any]:
    """The row with one field, a mapping in recipes, as the pairs that configurations hold.

    Args:
        row: what a recipe says.
        name: of the field; a missing one has no pairs.
        step: name of the step, for the complaint.
        meaning: what must map to what, such as "group names to numbers".

    Raises:
        RecipeError: when the field is no mapping.
    """
    given = row.get(name, {})
    if not isinstance(given, Mapping):
        raise RecipeError(f"{step} step: {name} is {given!r}; it must map {meaning}")
    return {**row, name: tuple(given.items())}
