"""Everything a running search knows; each stage reads what earlier stages wrote."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from autocompress.measurement import EstimatedLatency
from autocompress.passes.quantize import Unit
from autocompress.progress import Progress
from autocompress.recipe.builder import CandidateBuilder
from autocompress.recipe.recipe import Recipe
from autocompress.search.budget import Budget
from autocompress.search.equalizations import NONE
from autocompress.search.regions import Region, find_regions
from autocompress.search.results import BaselineResult
from autocompress.search.settings import SearchSettings
from autocompress.search.stopwatch import Stopwatch
from autocompress.search.trials import Ledger, Trial

if TYPE_CHECKING:
    from autocompress.latency.estimator import LatencyEstimator
    from autocompress.runtimes.protocol import ExecutedOp
    from autocompress.search.command import CommandTiming
    from autocompress.search.encoding import Encoding
    from autocompress.search.prices import LatencyPrices
    from autocompress.search.proposals import Scorer
    from autocompress.search.screening import Screened


@dataclass
class SearchState:
    """The state of one search.

    Attributes:
        settings: what was asked.
        builder: finds the units and builds candidates of the model.
        executor: where candidates are built and evaluated.
        open_estimator: opens the latency estimator (again, after operators were profiled).
        on_trial: called after each trial was added or changed.
        progress: what the person watching sees.
        stopwatch: time per stage.
        command: times finalists, where the user gave a command for that.
        folder: that workers share, or None.
        ledger: all trials.
        elements: tensor -> number of elements, at the shapes that count.
        baseline: the measured Baseline.
        budget: limits derived from it.
        estimator: the latency estimator.
        prices: additive latency prices, corrected by what was measured so far.
        probed_prices: the same as they came from the probes; None until something was measured.
        encoding: parameters of the space.
        in_play: parameter -> values still in play after screening.
        calibration_s: seconds that the calibration pass took.
        equalize_from_s: when the first equalization was begun, in seconds from the start.
        equalizations: those of the space that do something to this model; "none" is always among them.
        screened: whole-model schemes by damage, best first.
        refined: schemes on one candidate with a precision for each region, best first.
        scheme: the scheme with which regions are measured and assigned one by one.
        screened_count: how many whole-model candidates were built for screening.
        damage: of shape (regions, options); sensitivities.
        fastest: option per region of the fastest assignment, by the prices.
        sensitivity_measured: whether ``damage`` was measured unit by unit.
        scorer: predictors of drop and latency.
        baseline_ops: the baseline as executed.
        baseline_estimate: its estimated latency.
        anchor: measured over estimated latency of the baseline, where a command measured it.
        correction: the same of the finalists that a command timed, both relative to the baseline's.
        verified: trials verified so far, in order.
        first_met_s: seconds from the start until a trial was first verified to meet the target.
        out_of_reach: whether the target is faster than anything that the prices allow; the fastest feasible model is
            sought then.
        interrupted: whether the person asked to stop.
        stop_reason: why the search ended.
        notices: sentences a person should read.
    """

    settings: SearchSettings
    builder: CandidateBuilder
    executor: Executor
    open_estimator: Callable[[], LatencyEstimator]
    on_trial: Callable[[Trial], None]
    progress: Progress
    stopwatch: Stopwatch
    command: CommandTiming | None = None
    folder: Path | None = None
    ledger: Ledger = field(default_factory=Ledger)
    elements: dict[str, int] = field(default_factory=dict)
    baseline: BaselineResult | None = None
    budget: Budget | None = None
    estimator: LatencyEstimator | None = None
    prices: LatencyPrices | None = None
    probed_prices: LatencyPrices | None = None
    encoding: Encoding | None = None
    in_play: dict[str, tuple[object, ...]] = field(default_factory=dict)
    calibration_s: float = 0.0
    equalize_from_s: float = 0.0
    equalizations: tuple[str, ...] = (NONE,)
    screened: list[Screened] = field(default_factory=list)
    refined: list[Screened] = field(default_factory=list)
    scheme: Recipe | None = None
    screened_count: int = 0
    damage: npt.NDArray[np.float64] | None = None
    fastest: tuple[int, ...] = ()
    sensitivity_measured: bool = False
    scorer: Scorer | None = None
    baseline_ops: list[ExecutedOp] = field(default_factory=list)
    baseline_estimate: EstimatedLatency | None = None
    anchor: float = 1.0
    correction: float = 1.0
    verified: list[Trial] = field(default_factory=list)
    first_met_s: float | None = None
    out_of_reach: bool = False
    interrupted: bool = False
    stop_reason: str = ""
    notices: list[str] = field(default_factory=list)

    @property
    def units(self) -> tuple[Unit, ...]:
        """The units of the model."""
        return self.builder.quantizer.units

    @cached_property
    def regions(self) -> tuple[Region, ...]:
        """The units, grouped by what is chosen together."""
        return find_regions(self.units)

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
