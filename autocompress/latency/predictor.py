"""Predictors on disk: one ONNX forest per family and a card that says where they come from and how good they are.

predictors/<table stem>/card.json        rates, rows, errors, intervals, hash of the table
predictors/<table stem>/<family>.onnx
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autocompress.errors import TableError
from autocompress.files import write_text
from autocompress.latency.features import FEATURES
from autocompress.latency.forest import INPUTS, FamilyForest
from autocompress.latency.operator_errors import FamilyErrors
from autocompress.latency.roofline import Roofline
from autocompress.latency.serving import Prediction, Predictors
from autocompress.latency.tree_ensemble import forest_to_onnx

__all__ = ["CARD", "ModelFit", "Prediction", "Predictors", "load_predictors", "save_predictors", "table_hash"]

FORMAT = "autocompress latency predictors"
SCHEMA = 2
CARD = "card.json"
_NUMBERS = re.compile(r"\[\s+([-+0-9.e,\s]+?)\s+\]")


@dataclass(frozen=True)
class ModelFit:
    """What was fitted on whole models, JSON-ready.

    Attributes:
        composition: how operators add up.
        intervals: how far off estimates of models may be.
        anchoring: how measurements of a model's candidates correct the estimates of others.
    """

    composition: Mapping[str, Any]
    intervals: Mapping[str, Any]
    anchoring: Mapping[str, Any]


def table_hash(path: str | Path) -> str:
    """SHA-256 of a table's file.

    Raises:
        TableError: when it cannot be read.
    """
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise TableError(f"cannot read the latency table {Path(path).name}: {error.strerror}") from error


def save_predictors(
    folder: str | Path,
    forests: Sequence[FamilyForest],
    errors: Mapping[str, FamilyErrors],
    roofline: Roofline,
    fit: ModelFit,
    provenance: Mapping[str, Any],
) -> None:
    """Writes the forests and their card.

    Args:
        folder: created where missing; forests of families that are no longer there are removed.
        forests: from ``fit_forests``.
        errors: how good each family is on operators that it did not see.
        roofline: constants they were fitted with.
        fit: what was fitted on whole models.
        provenance: "table", "table_sha256", "command" and whatever else the card should say.

    Raises:
        StorageError: when the place cannot be written.
    """
    folder = Path(folder)
    models = {forest.family: forest_to_onnx(forest.trees, INPUTS) for forest in forests}
    card = {
        "format": FORMAT,
        "schema": SCHEMA,
        **provenance,
        "features": list(FEATURES),
        "constants": roofline.to_constants(),
        "composition": fit.composition,
        "intervals": fit.intervals,
        "anchoring": fit.anchoring,
        "families": {f.family: _family_row(f, errors[f.family], models[f.family]) for f in forests},
    }
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.onnx"):
        old.unlink()
    for family, model in models.items():
        (folder / f"{family}.onnx").write_bytes(model)
    write_text(folder / CARD, _readable(card))


def load_predictors(folder: str | Path, table: str | Path | None = None) -> Predictors:
    """Reads predictors; their models are only loaded when asked for.

    Args:
        folder: with a card and one ONNX file per family.
        table: the table they must have been trained on; None to skip that check.

    Raises:
        TableError: when they are malformed, of another schema, or trained on another table.
    """
    folder = Path(folder)
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TableError(f"cannot read the card of predictors {folder.name}: {error}") from error
    _check_card(card, folder.name)
    if table is not None and card["table_sha256"] != table_hash(table):
        raise TableError(
            f"predictors {folder.name} were not trained on {Path(table).name} as it is now; "
            f"train them again with `autocompress predictor train`"
        )
    models = {}
    for family, row in card["families"].items():
        path = folder / f"{family}.onnx"
        if not path.is_file():
            raise TableError(f"predictors {folder.name} lack {path.name}; train them again")
        models[family] = path.read_bytes()
        if hashlib.sha256(models[family]).hexdigest() != row["sha256"]:
            raise TableError(
                f"predictors {folder.name}: {path.name} is not the file its card describes; train them again"
            )
    return Predictors(card, models)


def _readable(card: Mapping[str, Any]) -> str:
    """JSON with one key per line, and lists of numbers on one."""
    text = json.dumps(card, indent=1)
    return _NUMBERS.sub(lambda match: "[" + " ".join(match.group(1).split()) + "]", text) + "\n"


def _check_card(card: Any, name: str) -> None:
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise TableError(f"{name} holds no predictors: its card is of another kind")
    schema = card.get("schema")
    if not isinstance(schema, int) or schema > SCHEMA:
        raise TableError(f"predictors {name} have schema {schema}, newer than {SCHEMA}; update autocompress")
    if schema < SCHEMA:
        raise TableError(f"predictors {name} are of an older version (schema {schema}); train them again")
    needed = {"features", "constants", "composition", "intervals", "anchoring", "families", "table_sha256"}
    missing = needed - card.keys()
    if missing:
        raise TableError(f"the card of predictors {name} lacks {', '.join(sorted(missing))}; train them again")
    if card["features"] != list(FEATURES):
        raise TableError(
            f"predictors {name} were trained on other features than this version computes; train them again"
        )


def _family_row(forest: FamilyForest, errors: FamilyErrors, model: bytes) -> dict[str, Any]:
    return {
        **errors.to_dict(),
        "offsets": dict(forest.offsets),
        **forest.rates.to_dict(),
        "sha256": hashlib.sha256(model).hexdigest(),
    }
