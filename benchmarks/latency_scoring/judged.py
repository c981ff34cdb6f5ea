"""One model in one setting: what it takes, and what each method said it would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from latency_models.catalogue import Form

from autocompress.latency.anchoring import Anchor, AnchorPrior, Candidate
from autocompress.measurement import EstimatedLatency

OURS, NO_HITS = "estimate", "no_hits"


@dataclass(frozen=True)
class Prediction:
    """What one method says.

    Attributes:
        latency_ms: the prediction.
        low_ms: lower end of its 90 % interval; None for methods without.
        high_ms: upper end.
    """

    latency_ms: float
    low_ms: float | None = None
    high_ms: float | None = None

    @classmethod
    def of(cls, estimate: EstimatedLatency) -> Prediction:
        """From an estimate with an interval."""
        interval = estimate.interval90_ms
        return cls(float(estimate.latency_ms), float(interval.low), float(interval.high))


@dataclass(frozen=True)
class Anchorable:
    """An estimate that measurements of other candidates can correct.

    Attributes:
        candidate: the estimate with what the correction needs to know of it.
        prior: how estimates are wrong, and how alike.
    """

    candidate: Candidate
    prior: AnchorPrior

    def corrected(self, anchors: Sequence[Anchor]) -> EstimatedLatency:
        """The estimate after some candidates were measured."""
        return self.prior.correct(self.candidate, anchors)


@dataclass(frozen=True)
class Judged:
    """One model in one setting.

    Attributes:
        form: which model.
        setting: runtime and threads, for people.
        rounds_ms: its time in each round.
        truth_ms: median over rounds.
        predictions: method -> what it says.
        anchorable: method -> its estimate, for methods that are anchored as the package does it.
        nodes: price source ("table", "forest", "bound") -> how many operators it priced.
        time_share: price source -> its share of the estimated time.
    """

    form: Form
    setting: str
    rounds_ms: Sequence[float]
    truth_ms: float
    predictions: Mapping[str, Prediction]
    anchorable: Mapping[str, Anchorable] = field(default_factory=dict, repr=False)
    nodes: Mapping[str, int] = field(default_factory=dict)
    time_share: Mapping[str, float] = field(default_factory=dict)

    def to_row(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            **asdict(self.form),
            "setting": self.setting,
            "rounds_ms": [_digits(ms) for ms in self.rounds_ms],
            "truth_ms": _digits(self.truth_ms),
            "predictions": {
                name: [None if v is None else _digits(v) for v in (p.latency_ms, p.low_ms, p.high_ms)]
                for name, p in self.predictions.items()
            },
            "nodes": dict(self.nodes),
            "time_share": {source: round(share, 4) for source, share in self.time_share.items()},
        }


def _digits(milliseconds: float) -> float:
    return float(f"{milliseconds:.5g}")
