"""Everything a running search knows; each stage reads what earlier stages wrote.

What depends on the float model that is quantized belongs to a stem (``autocompress.search.stem``).  The stages work on
one stem at a time, and find what they need of it under its own name in the state.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import numpy as np  # noqa: F401 (in the quoted types below)
import numpy.typing as npt  # noqa: F401

from autocompress.measurement import EstimatedLatency
from autocompress.passes.quantize import Unit
from autocompress.progress import Progress
from autocompress.recipe.builder import CandidateBuilder
from autocompress.recipe.recipe import Recipe
from autocompress.search.budget import Budget
from autocompress.search.regions import Region
from autocompress.search.results import BaselineResult
from autocompress.search.settings import SearchSettings
from autocompress.search.stem import StemState
from autocompress.search.stopwatch import Stopwatch
from autocompress.search.trials import Ledger, Trial

if TYPE_CHECKING:
    from autocompress.latency.estimator import LatencyEstimator
    from autocompress.runtimes.protocol import ExecutedOp
    from autocompress.search.command import CommandTiming
    from autocompress.search.encoding import Encoding  # noqa: F401 (in the quoted types below)
    from autocompress.search.prices import LatencyPrices  # noqa: F401 (in the quoted types below)
    from autocompress.search.proposals import Scorer  # noqa: F401 (in the quoted types below)
    from autocompress.search.screening import Screened  # noqa: F401 (in the quoted types below)
    from autocompress.search.stems.options import Option


T = TypeVar("T")


class _OfStem(Generic[T]):
    """Something of the stem at hand, under the same name."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, state: None, owner: type | None = None) -> _OfStem[T]: ...

    @overload
    def __get__(self, state: SearchState, owner: type | None = None) -> T: ...

    def __get__(self, state: SearchState | None, owner: type | None = None) -> Any:
        return self if state is None else getattr(state.stem, self._name)

    def __set__(self, state: SearchState, value: T) -> None:
        setattr(state.stem, self._name, value)


@dataclass
class SearchState:
    """The state of one search.

    Attributes:
        settings: what was asked.
        stem: the one at hand; what belongs to it can also be read and set here.
        executor: where candidates are built and evaluated.
        open_estimator: opens the latency estimator (again, after operators were profiled).
        on_trial: called after each trial was added or changed.
        progress: what the person watching sees.
        stopwatch: time per stage.
        command: times finalists, where the user gave a command for that.
        folder: that workers share, or None.
        ledger: all trials.
        baseline: the measured Baseline.
        budget: limits derived from it.
        estimator: the latency estimator.
        stems: all stems by the hash of the steps that make them.
        calibration_s: seconds that the calibration pass took.
        equalize_from_s: when the first equalization was begun, in seconds from the start.
        screened_count: how many whole-model candidates were built for screening.
        baseline_ops: the baseline as executed.
        baseline_estimate: its estimated latency.
        anchor: measured over estimated latency of the baseline, where a command measured it.
        correction: the same of the finalists that a command timed, both relative to the baseline's.
        surveyed: what was measured of smaller layers, each with price and damage.
        verified: trials verified so far, in order.
        first_met_s: seconds from the start until a trial was first verified to meet the target.
        interrupted: whether the person asked to stop.
        stop_reason: why the search ended.
        notices: sentences a person should read.
    """

    settings: SearchSettings
    stem: StemState
    executor: Executor
    open_estimator: Callable[[], LatencyEstimator]
    on_trial: Callable[[Trial], None]
    progress: Progress
    stopwatch: Stopwatch
    command: CommandTiming | None = None
    folder: Path | None = None
    ledger: Ledger = field(default_factory=Ledger)
    baseline: BaselineResult | None = None
    budget: Budget | None = None
    estimator: LatencyEstimator | None = None
    stems: dict[str, StemState] = field(default_factory=dict)
    calibration_s: float = 0.0
    equalize_from_s: float = 0.0
    screened_count: int = 0
    baseline_ops: list[ExecutedOp] = field(default_factory=list)
    baseline_estimate: EstimatedLatency | None = None
    anchor: float = 1.0
    correction: float = 1.0
    surveyed: list[Option] = field(default_factory=list)
    verified: list[Trial] = field(default_factory=list)
    first_met_s: float | None = None
    interrupted: bool = False
    stop_reason: str = ""
    notices: list[str] = field(default_factory=list)

    builder = _OfStem[CandidateBuilder]()
    elements = _OfStem["dict[str, int]"]()
    prices = _OfStem["LatencyPrices | None"]()
    probed_prices = _OfStem["LatencyPrices | None"]()
    encoding = _OfStem["Encoding | None"]()
    in_play = _OfStem["dict[str, tuple[object, ...]]"]()
    equalizations = _OfStem["tuple[str, ...]"]()
    screened = _OfStem["list[Screened]"]()
    refined = _OfStem["list[Screened]"]()
    scheme = _OfStem["Recipe | None"]()
    damage = _OfStem["npt.NDArray[np.float64] | None"]()
    fastest = _OfStem["tuple[int, ...]"]()
    sensitivity_measured = _OfStem["bool"]()
    scorer = _OfStem["Scorer | None"]()
    out_of_reach = _OfStem["bool"]()

    def __post_init__(self) -> None:
        self.stems.setdefault(self.stem.recipe.hash, self.stem)

    @property
    def first_stem(self) -> StemState:
        """The original, folded."""
        return self.stems[Recipe().hash]

    def stem_of(self, recipe: Recipe) -> StemState | None:
        """The stem of a recipe, where it is open."""
        return self.stems.get(recipe.float_part.hash)

    @property
    def own_trials(self) -> list[Trial]:
        """Evaluated trials of the stem at hand."""
        return [trial for trial in self.ledger.complete if self.stem_of(trial.recipe) is self.stem]

    @property
    def units(self) -> tuple[Unit, ...]:
        """The units of the model."""
        return self.stem.units

    @property
    def regions(self) -> tuple[Region, ...]:
        """The units, grouped by what is chosen together."""
        return self.stem.regions

    def latency_ms(self, trial: Trial) -> float:
        """Latency that steers: measured and normalised to the baseline, or estimated where no timing may steer."""
        if self.settings.steered_by_estimates:
            assert trial.estimate is not None
            return trial.estimate.latency_ms * self.correction
        assert trial.evaluated.speedup is not None
        return self.baseline_ms / trial.evaluated.speedup.speedup

    @property
    def baseline_ms(self) -> float:
        """Latency of the baseline on the scale of ``latency_ms``."""
        if self.settings.steered_by_estimates:
            assert self.baseline_estimate is not None
            return self.baseline_estimate.latency_ms * self.anchor
        assert self.baseline is not None and self.baseline.latency is not None
        return self.baseline.latency.latency_ms

    @property
    def steering(self) -> Budget:
        """The limits that steer, on the scale of ``latency_ms``; ``budget`` has those that verification checks."""
        return replace(self.limits, latency_ms=None, speedup=None) if self.out_of_reach else self.limits

    @property
    def limits(self) -> Budget:
        """The limits on the scale of ``latency_ms``."""
        assert self.budget is not None
        if not self.settings.deterministic or self.budget.latency_ms is None:
            return self.budget
        latencies = [self.settings.target_latency_ms] if self.settings.target_latency_ms is not None else []
        if self.settings.target_speedup is not None:
            latencies.append(self.baseline_ms / self.settings.target_speedup)
        limit_ms = min(latencies)
        return replace(self.budget, latency_ms=limit_ms, speedup=self.baseline_ms / limit_ms)

    def notice(self, text: str) -> None:
        """Records a sentence that a person should read, once."""
        if text not in self.notices:
            self.notices.append(text)
            self.progress.notice(text)
