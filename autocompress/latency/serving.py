"""Forests as they are asked: in batches, through ONNX Runtime; scikit-learn takes ten milliseconds for one row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from autocompress.graph.signature import OpSignature
from autocompress.latency.anchoring import AnchorPrior
from autocompress.latency.composition import Composition
from autocompress.latency.families import family_of
from autocompress.latency.fitted_roofline import FittedRoofline
from autocompress.latency.forest import inputs_of, known_classes
from autocompress.latency.intervals import ModelIntervals
from autocompress.latency.operator_errors import half_width
from autocompress.latency.operator_rows import OperatorRows
from autocompress.latency.record import LatencyRecord
from autocompress.latency.roofline import Roofline
from autocompress.runtimes.onnxruntime_session import OnnxRuntimeSession
from autocompress.runtimes.protocol import SessionOptions

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
        self.trained_roofline = Roofline.from_constants(card["constants"])
        self.roofline = roofline or self.trained_roofline
        self.composition = Composition.from_dict(card["composition"])
        self.intervals = ModelIntervals.from_dict(card["intervals"])
        self.anchoring = AnchorPrior.from_dict(card["anchoring"])
        self._rates = {family: FittedRoofline.from_dict(row) for family, row in card["families"].items()}
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

        What they say is scaled from the bound of the device they were trained for to the bound of the other; ratios to
        a bound change less from device to device than times do.  What is wrong there then is corrected by the median,
        family by family, of what was measured there.

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
        row, rates = self.card["families"][family], self._rates[family]
        described = OperatorRows.of(signatures, self.trained_roofline)
        base_us = rates.latency_us(described)
        inputs = inputs_of(described, rates, base_us, row["offsets"])
        trees = self._session(family).run({"features": inputs})["trees"].astype(float)
        centre = np.log(base_us) + trees.mean(axis=1) + self._corrections.get(family, self._corrections[""])
        centre += np.log([self.roofline.bound_us(s) for s in signatures]) - np.log(described.bound_us)
        half = [
            self._widening * half_width(row, float(spread), known=known)
            for spread, known in zip(trees.std(axis=1), known_classes(described, row["offsets"]), strict=True)
        ]
        return [
            Prediction(float(np.exp(c)), float(np.exp(c - h)), float(np.exp(c + h)))
            for c, h in zip(centre, half, strict=True)
        ]

    def _session(self, family: str) -> OnnxRuntimeSession:
        if family not in self._sessions:
            self._sessions[family] = OnnxRuntimeSession(self._models[family], SessionOptions())
        return self._sessions[family]
