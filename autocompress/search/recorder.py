"""Writes trials to the study database: one transaction per trial, so that a kill at any moment loses at most one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from autocompress.measurement import Interval
from autocompress.recipe.recipe import Recipe
from autocompress.search.budget import Budget
from autocompress.search.encoding import Encoding
from autocompress.search.trials import COMPLETE, FAILED, PRUNED, Trial
from autocompress.store.records import CandidateRecord

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from autocompress.store.store import Store

_Z90 = 1.645


class Recorder:
    """Keeps Optuna's trials and our candidates in step.

    Attributes:
        name: of the study.
    """

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self.name = name
        self._written: set[int] = set()
        self._choices: dict[str, tuple[Any, ...]] = {}

    def record(self, trial: Trial, encoding: Encoding, budget: Budget) -> None:
        """Writes a trial, or writes it again after it was verified.

        Raises:
            StorageError: when the database cannot be written to.
        """
        candidate = candidate_record(trial)
        if trial.number in self._written:
            self._store.record_candidates(self.name, [candidate])
            return
        self._store.record_candidates(self.name, [candidate], trials=[self._frozen(trial, encoding, budget)])
        self._written.add(trial.number)

    def _frozen(self, trial: Trial, encoding: Encoding, budget: Budget) -> FrozenTrial:
        """For Optuna, where a parameter means the same in every trial: one with other choices in a stem is left out."""
        choices = encoding.choices
        same = {n: v for n, v in trial.params.items() if self._choices.setdefault(n, choices[n]) == choices[n]}
        return frozen_trial(replace(trial, params=same), encoding, budget)

    def known(self, numbers: range) -> None:
        """Marks trials as already written (when a study is resumed)."""
        self._written.update(numbers)


def candidate_record(trial: Trial) -> CandidateRecord:
    """A trial as the database holds it."""
    evaluation, verification = trial.evaluation, trial.verification
    interval = None
    if trial.predicted_drop is not None and trial.predicted_deviation is not None:
        reach = _Z90 * trial.predicted_deviation
        interval = Interval(trial.predicted_drop - reach, trial.predicted_drop + reach)
    return CandidateRecord(
        trial=trial.number,
        recipe_hash=trial.recipe.hash,
        recipe=trial.recipe.to_steps(),
        origin=trial.origin,  # type: ignore[arg-type]
        state=trial.state,  # type: ignore[arg-type]
        cause=trial.cause,
        predicted_drop=trial.predicted_drop,
        predicted_drop_interval=interval,
        estimate=trial.estimate,
        search_drop=None if evaluation is None else evaluation.drop,
        estimated_speedup=trial.estimated_speedup,
        search_speedup=None if evaluation is None else evaluation.speedup,
        damage=trial.damage,
        latency=None if evaluation is None or evaluation.speedup is None else evaluation.speedup.b,
        size_bytes=None if evaluation is None else evaluation.size_bytes,
        deflate_bytes=_deflate_bytes(trial),
        build_s=trial.build_s,
        evaluate_s=None if evaluation is None else evaluation.evaluate_s,
        verified_drop=None if verification is None else verification.drop,
        verified_speedup=None if verification is None else verification.speedup,
    )


def frozen_trial(trial: Trial, encoding: Encoding, budget: Budget) -> FrozenTrial:
    """A trial as stock Optuna knows it: accuracy drop and latency as values, limits as constraints."""
    import optuna

    states = {
        COMPLETE: optuna.trial.TrialState.COMPLETE,
        PRUNED: optuna.trial.TrialState.PRUNED,
        FAILED: optuna.trial.TrialState.FAIL,
    }
    values = None
    attributes: dict[str, Any] = {"recipe": trial.recipe.hash, "origin": trial.origin}
    if trial.recipe.float_part != Recipe():
        attributes["stem"] = trial.recipe.float_part.hash
    if trial.cause is not None:
        attributes["cause"] = trial.cause
    if trial.predicted_drop is not None:
        attributes["predicted_drop"] = trial.predicted_drop
    if trial.estimate is not None:
        attributes["latency_estimate_ms"] = trial.estimate.latency_ms
    limits: dict[str, float] = {}
    if trial.evaluation is not None:
        result = trial.evaluation
        latency_ms, latency_attributes = _latency(trial)
        values = [result.drop.drop, latency_ms]
        attributes |= {**latency_attributes, "size_bytes": result.size_bytes, "n": result.drop.n}
        limits = budget.constraints(
            drop=result.drop.drop, latency_ms=latency_ms, size_bytes=budget.counted_bytes(result)
        )
    frozen = optuna.trial.create_trial(
        state=states[trial.state],
        params=trial.params,
        distributions={**encoding.distributions(trial.params)},
        values=values,
        user_attrs=attributes,
        constraints=limits,
    )
    frozen.number = trial.number
    return frozen


def _latency(trial: Trial) -> tuple[float, dict[str, Any]]:
    """Latency of a complete trial and what to know about it: measured, or estimated where no timing here counts."""
    timed = trial.evaluated.speedup
    if timed is not None:
        return timed.b.latency_ms, {"speedup": timed.speedup}
    assert trial.estimate is not None
    attributes: dict[str, Any] = {"latency_is_estimated": True}
    if trial.estimated_speedup is not None:
        attributes["speedup_estimate"] = trial.estimated_speedup.speedup
    return trial.estimate.latency_ms, attributes


def _deflate_bytes(trial: Trial) -> int | None:
    """The compressed size, by whoever compressed the candidate; its bytes are always the same."""
    known = [result.deflate_bytes for result in (trial.evaluation, trial.verification) if result is not None]
    return next((size for size in known if size is not None), None)
