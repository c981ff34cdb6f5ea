"""What each model truly takes, in rounds: all models once, then all again in another order.

One observation is what ``autocompress measure`` does: the whole model alone, CPU time of the calling thread for one
thread, wall time for more, the quieter half of the samples; it waits for an undisturbed moment, but not long.  Two
rounds of the same model differ only by the mood of the machine and by where the model's memory lies; that difference
is the noise floor no estimate can go below.  Models whose first rounds differ by much get further rounds.  The truth is
the median over rounds.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from autocompress.errors import RuntimeFailure
from autocompress.latency.steadiness import Steadiness
from autocompress.measurement import MeasuredLatency
from autocompress.progress import Progress
from autocompress.runtimes.protocol import SessionOptions
from autocompress.runtimes.timing import time_session
from latency_measuring.executed import feeds_of
from latency_measuring.kept import KeptRows, Row
from latency_measuring.settings import Setting

_FEWEST_REPEATS = 5
_PATIENCE_S = 0.5  # for an undisturbed moment
DIFFERENT = 0.03  # rounds that differ by more are followed by further ones
FURTHER_ROUNDS = 2


@dataclass(frozen=True)
class TimedModel:
    """One model file in one setting.

    Attributes:
        key: of the form.
        setting: where it runs.
        path: its file.
    """

    key: str
    setting: Setting
    path: Path

    @property
    def identity(self) -> str:
        """Key, setting and content."""
        return f"{self.key} {self.setting.slug} {self.path.name}"


class Truth:
    """Observations of a test set.

    Args:
        kept: slug of a setting -> where its observations are kept; what is there is not measured again.
        seconds: per observation.

    Attributes:
        slowdowns: setting -> how many times slower than its best the machine usually was as each round began.
    """

    def __init__(self, kept: Mapping[str, KeptRows], *, seconds: float) -> None:
        self.slowdowns: dict[str, list[float]] = {}
        self._kept = kept
        self._seconds = seconds
        self._of: dict[str, list[Row]] = {}
        for rows in kept.values():
            for row in rows.rows:
                self._of.setdefault(row["model"], []).append(row)

    def rounds_ms(self, model: TimedModel) -> list[float]:
        """Latency of each round so far, in order."""
        return [row["latency_ms"] for row in self._of.get(model.identity, []) if "latency_ms" in row]

    def latency_ms(self, model: TimedModel) -> float | None:
        """The truth; None while, or because, there is none."""
        rounds = self.rounds_ms(model)
        return float(np.median(rounds)) if rounds else None

    def failure(self, model: TimedModel) -> str | None:
        """Why the runtime could not run it; None if it could."""
        return next((row["failed"] for row in self._of.get(model.identity, []) if "failed" in row), None)

    def measure_round(self, models: Sequence[TimedModel], number: int, progress: Progress) -> None:
        """Observes every model that has fewer than ``number`` rounds; setting by setting, in an order of its own."""
        todo = [i for i in models if self.failure(i) is None and len(self.rounds_ms(i)) < number]
        progress.stage(f"time the test set, round {number}", total=len(todo))
        for setting, group in _by_setting(todo):
            watch = Steadiness(setting.runtime, setting.threads)
            self.slowdowns.setdefault(setting.name, []).append(round(watch.usual_slowdown(), 3))
            random.Random(number).shuffle(group)
            for model in group:
                self._observe(model, number, watch)
                progress.advance()

    def measure_unsure(self, models: Sequence[TimedModel], progress: Progress) -> None:
        """Further rounds for models whose rounds so far differ by much."""
        for extra in range(FURTHER_ROUNDS):
            unsure = [i for i in models if _differ(self.rounds_ms(i)) and len(self.rounds_ms(i)) <= 2 + extra]
            self.measure_round(unsure, 3 + extra, progress)

    def _observe(self, model: TimedModel, number: int, watch: Steadiness) -> None:
        row: Row = {"model": model.identity, "round": number, "at": round(time.time(), 1)}
        try:
            row.update(asdict(self._timed(model, watch)))
        except RuntimeFailure as error:
            row["failed"] = str(error)
        self._kept[model.setting.slug].append(row)
        self._of.setdefault(model.identity, []).append(row)
        gc.collect()  # sessions hold much memory and may be part of cycles

    def _timed(self, model: TimedModel, watch: Steadiness) -> MeasuredLatency:
        session = model.setting.runtime.load(str(model.path), SessionOptions(threads=model.setting.threads))
        watch.wait(_PATIENCE_S)
        return time_session(session, feeds_of(model.path), budget_s=self._seconds, min_repeats=_FEWEST_REPEATS)


def _differ(rounds: Sequence[float]) -> bool:
    if len(rounds) < 2:
        return False
    middle = float(np.median(rounds))
    return sum(abs(r / middle - 1) <= DIFFERENT / 2 for r in rounds) < 2


def _by_setting(models: Iterable[TimedModel]) -> list[tuple[Setting, list[TimedModel]]]:
    groups: dict[str, tuple[Setting, list[TimedModel]]] = {}
    for model in models:
        groups.setdefault(model.setting.slug, (model.setting, []))[1].append(model)
    return list(groups.values())
