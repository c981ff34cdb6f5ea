"""Predictors on disk: one ONNX forest per family and a card that says where they come from and how good they are.

    predictors/<table stem>/card.json        rows, errors, interval scales, hash of the table
    predictors/<table stem>/<family>.onnx

They are served through ONNX Runtime, in batches: scikit-learn takes ten milliseconds for a single row.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autocompress.errors import TableError
from autocompress.graph.signature import OpSignature
from autocompress.latency.composition import Composition
from autocompress.latency.families import family_of
from autocompress.latency.features import FEATURES
from autocompress.latency.forest import SPREAD_FLOOR, FittedForest, inputs_of
from autocompress.latency.record import LatencyRecord
from autocompress.latency.roofline import Roofline
from autocompress.latency.table import write_atomically
from autocompress.runtimes.onnxruntime_session import OnnxRuntimeSession
from autocompress.runtimes.protocol import SessionOptions

FORMAT = "autocompress latency predictors"
SCHEMA = 1
CARD = "card.json"
FloatArray = npt.NDArray[np.float64]
_FEWEST_TO_CORRECT = 4
_WIDENING_ELSEWHERE = 4.0  # forests were wrong by about that much more on a device they were not trained for


@dataclass(frozen=True)
class Prediction:
    """What a forest says of one operator.

    Attributes:
        latency_us: the prediction.
        low_us: lower end of the 90 % interval.
        high_us: upper end.
    """

    latency_us: float
    low_us: float
    high_us: float


class Predictors:
    """The fitted forests of one table.

    Args:
        card: contents of card.json.
        models: family -> serialized ONNX; loaded when first asked for.
        roofline: constants of the device that is predicted for; those of the card when left out.
        corrections: family -> log of the factor on predictions, "" for all other families; none when left out.
        widening: factor on the half width of intervals.
    """

    def __init__(
        self,
        card: Mapping[str, Any],
        models: Mapping[str, bytes],
        *,
        roofline: Roofline | None = None,
        corrections: Mapping[str, float] | None = None,
        widening: float = 1.0,
    ) -> None:
        self.card = card
        self.roofline = roofline or Roofline.from_constants(card["constants"])
        self.composition = Composition.from_dict(card["composition"])
        self._models = models
        self._corrections = corrections or {"": 0.0}
        self._widening = widening
        self._sessions: dict[str, OnnxRuntimeSession] = {}

    @property
    def families(self) -> frozenset[str]:
        """Families that have a forest."""
        return frozenset(self._models)

    def transferred(self, roofline: Roofline, measured: Iterable[LatencyRecord]) -> Predictors:
        """These forests for another device.

        They predict ratios to the roofline bound, which change less from device to device than times do; what they
        get wrong there is corrected by the median, family by family, of what was measured there.

        Args:
            roofline: constants of the other device.
            measured: records of the other device.
        """
        plain = Predictors(self.card, self._models, roofline=roofline)
        records = [r for r in measured if r.valid]
        errors: dict[str, list[float]] = defaultdict(list)
        for record, prediction in zip(records, plain.predict([r.signature for r in records]), strict=True):
            if prediction is not None:
                error = float(np.log(record.minimum_us / prediction.latency_us))
                errors[family_of(record.signature)].append(error)
                errors[""].append(error)
        corrections = {family: float(np.median(e)) for family, e in errors.items() if len(e) >= _FEWEST_TO_CORRECT}
        return Predictors(
            self.card,
            self._models,
            roofline=roofline,
            corrections={"": 0.0, **corrections},
            widening=_WIDENING_ELSEWHERE,
        )

    def predict(self, signatures: Sequence[OpSignature]) -> list[Prediction | None]:
        """Predictions in the given order; None where the operator's family has no forest."""
        found: list[Prediction | None] = [None] * len(signatures)
        by_family: dict[str, list[int]] = defaultdict(list)
        for i, signature in enumerate(signatures):
            family = family_of(signature)
            if family in self._models:
                by_family[family].append(i)
        for family, positions in by_family.items():
            group = [signatures[i] for i in positions]
            for i, prediction in zip(positions, self._predict_family(family, group), strict=True):
                found[i] = prediction
        return found

    def _predict_family(self, family: str, signatures: Sequence[OpSignature]) -> list[Prediction]:
        row = self.card["families"][family]
        trees = self._session(family).run({"features": inputs_of(signatures, row["offsets"])})["trees"].astype(float)
        bound = np.asarray([self.roofline.bound_us(s) for s in signatures])
        centre = trees.mean(axis=1) + self._corrections.get(family, self._corrections[""])
        half = (trees.std(axis=1) + SPREAD_FLOOR) * row["interval_scale"] * self._widening
        return [
            Prediction(float(b * np.exp(c)), float(b * np.exp(c - h)), float(b * np.exp(c + h)))
            for b, c, h in zip(bound, centre, half, strict=True)
        ]

    def _session(self, family: str) -> OnnxRuntimeSession:
        if family not in self._sessions:
            self._sessions[family] = OnnxRuntimeSession(self._models[family], SessionOptions())
        return self._sessions[family]


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
    forests: Sequence[FittedForest],
    roofline: Roofline,
    composition: Composition,
    provenance: Mapping[str, Any],
) -> None:
    """Writes the forests and their card.

    Args:
        folder: created where missing; forests of families that are no longer there are removed.
        forests: from ``fit_forests``.
        roofline: constants they were fitted with.
        composition: how operators add up to a model.
        provenance: "table", "table_sha256", "command" and whatever else the card should say.

    Raises:
        StorageError: when the place cannot be written.
    """
    folder = Path(folder)
    card = {
        "format": FORMAT,
        "schema": SCHEMA,
        **provenance,
        "features": list(FEATURES),
        "constants": roofline.to_constants(),
        "composition": composition.to_dict(),
        "families": {f.family: _family_row(f) for f in forests},
    }
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.onnx"):
        old.unlink()
    for forest in forests:
        (folder / f"{forest.family}.onnx").write_bytes(forest.model)
    write_atomically(folder / CARD, json.dumps(card, indent=1) + "\n")


def load_predictors(folder: str | Path, table: str | Path | None = None) -> Predictors:
    """Reads predictors; their models are only loaded when asked for.

    Args:
        folder: with a card and one ONNX file per family.
        table: the table they must have been trained on; None to skip that check.

    Raises:
        TableError: when they are malformed, of a newer schema, or trained on another table.
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


def _check_card(card: Any, name: str) -> None:
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise TableError(f"{name} holds no predictors: its card is of another kind")
    if not isinstance(card.get("schema"), int) or card["schema"] > SCHEMA:
        raise TableError(
            f"predictors {name} have schema {card.get('schema')}, newer than {SCHEMA}; update autocompress"
        )
    missing = {"features", "constants", "composition", "families", "table_sha256"} - card.keys()
    if missing:
        raise TableError(f"the card of predictors {name} lacks {', '.join(sorted(missing))}; train them again")
    if card["features"] != list(FEATURES):
        raise TableError(
            f"predictors {name} were trained on other features than this version computes; train them again"
        )


def _family_row(forest: FittedForest) -> dict[str, Any]:
    return {
        "rows": forest.rows,
        "offsets": dict(forest.offsets),
        "mape": round(forest.mape, 4),
        "within_10_percent": round(forest.within_10_percent, 4),
        "interval_scale": round(forest.interval_scale, 4),
        "worst": [{"key": key, "predicted_over_measured": round(ratio, 3)} for key, ratio in forest.worst],
        "sha256": hashlib.sha256(forest.model).hexdigest(),
    }
