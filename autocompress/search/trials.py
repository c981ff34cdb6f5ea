"""Trials: what the search proposed, why it was left out or what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from autocompress.measurement import EstimatedLatency, EstimatedSpeedup
from autocompress.recipe.recipe import Recipe
from autocompress.search.encoding import Params
from autocompress.search.results import EvaluationResult, VerificationResult

COMPLETE = "complete"
PRUNED = "pruned"
FAILED = "failed"


@dataclass
class Trial:
    """One attempt of the search.

    Attributes:
        number: position in the study, from 0.
        recipe: what was tried.
        params: its Optuna parameters.
        origin: "seed", "screen", "explore" or "polish".
        state: "complete" (evaluated), "pruned" (left out, with its cause) or "failed" (with its cause).
        predicted_drop: what the accuracy predictor said before it was built.
        predicted_deviation: standard deviation of that.
        estimate: what the latency estimator said before it was built; of the operators that it executes, once known.
        estimated_speedup: over the baseline's estimate, where no timing on this machine counts.
        cause: why it was pruned or failed.
        evaluation: measured on the search part; None unless complete.
        verification: measured on the verification part; None unless verified.
        damage: label-free output damage, where only that was measured.
        build_s: seconds spent on building; None when nothing was built.
    """

    number: int
    recipe: Recipe
    params: Params
    origin: str
    state: str
    predicted_drop: float | None = None
    predicted_deviation: float | None = None
    estimate: EstimatedLatency | None = None
    estimated_speedup: EstimatedSpeedup | None = None
    cause: str | None = None
    evaluation: EvaluationResult | None = None
    verification: VerificationResult | None = None
    damage: float | None = None
    build_s: float | None = None

    @property
    def evaluated(self) -> EvaluationResult:
        """The evaluation of a complete trial."""
        assert self.evaluation is not None
        return self.evaluation


class Ledger:
    """All trials of a study, in order; finds them by recipe."""

    def __init__(self) -> None:
        self._trials: list[Trial] = []
        self._by_hash: dict[str, Trial] = {}

    def __iter__(self) -> Iterator[Trial]:
        return iter(self._trials)

    def __len__(self) -> int:
        return len(self._trials)

    def __contains__(self, recipe: Recipe) -> bool:
        return recipe.hash in self._by_hash

    def add(self, trial: Trial) -> Trial:
        """Appends a trial; its number must be the next one."""
        assert trial.number == len(self._trials)
        self._trials.append(trial)
        self._by_hash[trial.recipe.hash] = trial
        return trial

    def find(self, recipe: Recipe) -> Trial | None:
        """The trial of a recipe, or None."""
        return self._by_hash.get(recipe.hash)

    @property
    def complete(self) -> list[Trial]:
        """Evaluated trials."""
        return [t for t in self._trials if t.state == COMPLETE]

    def count(self, state: str) -> int:
        """How many trials are in a state."""
        return sum(t.state == state for t in self._trials)

    @property
    def built(self) -> int:
        """How many candidates were built (whatever came of them)."""
        return sum(t.build_s is not None for t in self._trials)
