"""Which stored array feeds which model input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autocompress.data.fit import declared_text, dtype_problem, model_dtype
from autocompress.data.rows import Rows
from autocompress.data.samples import LABELS, ModelInputLike
from autocompress.errors import DataError

LABEL_ALIASES = ("label", "y", "target", "targets", "gt")


def match_names(
    arrays: Mapping[str, Rows], model_inputs: Sequence[ModelInputLike]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Array name for every model input, and notices.

    Names must be equal, except that the only input of a model takes the only array that could be meant.

    Raises:
        DataError: when an input has no array.
    """
    missing = [i for i in model_inputs if i.name not in arrays]
    if not missing:
        return {i.name: i.name for i in model_inputs}, ()
    if len(model_inputs) == 1:
        candidates = [name for name, rows in arrays.items() if _could_feed(name, rows, model_inputs[0])]
        if len(candidates) == 1:
            notice = f"Array '{candidates[0]}' is taken for the model's only input '{model_inputs[0].name}'."
            return {model_inputs[0].name: candidates[0]}, (notice,)
    names = ", ".join(f"'{i.name}' {declared_text(i)}" for i in missing)
    raise DataError(
        f"The data has no array for the model's input{'s' if len(missing) > 1 else ''} {names}: it holds "
        f"{', '.join(repr(name) for name in arrays)}; rename the arrays to the inputs' names."
    )


def label_notices(arrays: Mapping[str, Rows], used: set[str], n: int) -> tuple[str, ...]:
    """A notice when there are no labels but an array of n rows that may be meant as such."""
    named = [name for name in arrays if name.lower() in LABEL_ALIASES and name not in used]
    aliases = [name for name in named if arrays[name].shape[:1] == (n,)]
    if LABELS in arrays or not aliases:
        return ()
    return (f"Array '{aliases[0]}' is not used as labels: rename it to '{LABELS}' if that is what it is.",)


def _could_feed(name: str, rows: Rows, model_input: ModelInputLike) -> bool:
    ranks = {len(model_input.shape)}
    if rows.dtype == "uint8" and len(model_input.shape) == 4:
        ranks.add(3)  # grey images without a channel axis
    return (
        name != LABELS
        and name.lower() not in LABEL_ALIASES
        and len(rows.shape) in ranks
        and dtype_problem(rows.dtype, model_dtype(model_input)) is None
    )
