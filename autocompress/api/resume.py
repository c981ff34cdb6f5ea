"""Takes up a study where it was left: what was evaluated is not evaluated again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from autocompress.measurement import MeasuredAccuracy
from autocompress.recipe.freezer import payload_path
from autocompress.recipe.recipe import Recipe
from autocompress.search.encoding import Encoding
from autocompress.search.recorder import Recorder
from autocompress.search.results import EvaluationResult
from autocompress.search.state import SearchState
from autocompress.search.trials import COMPLETE, FAILED, Trial

if TYPE_CHECKING:
    from autocompress.store.records import CandidateRecord, StudyRecord


def restore(record: StudyRecord, state: SearchState, recorder: Recorder, stems: Path | None) -> None:
    """Puts the trials of a study back into the ledger, in order; finalists are verified anew, as timing has to be.

    Args:
        record: of the study.
        state: to fill.
        recorder: of the study.
        stems: folder with what its stems have learnt.
    """
    encoding = Encoding(state.settings.space, state.regions)
    for candidate in sorted(record.candidates, key=lambda c: c.trial):
        trial = state.ledger.add(_trial(candidate, encoding))
        part = trial.recipe.float_part
        if part != Recipe() and not (stems is not None and payload_path(stems, part).is_file()):
            # Trained anew it would be another model than the one that was measured.
            trial.state, trial.cause = FAILED, "the smaller model that it quantizes is gone from the output folder"
    recorder.known(range(len(record.candidates)))


def _trial(candidate: CandidateRecord, encoding: Encoding) -> Trial:
    recipe = Recipe.from_steps([dict(step) for step in candidate.recipe])
    deviation = None
    if candidate.predicted_drop_interval is not None:
        interval = candidate.predicted_drop_interval
        deviation = (interval.high - interval.low) / (2 * 1.645)
    return Trial(
        number=candidate.trial,
        recipe=recipe,
        params=encoding.to_params(recipe),
        origin=candidate.origin,
        state=_state(candidate),
        predicted_drop=candidate.predicted_drop,
        predicted_deviation=deviation,
        estimate=candidate.estimate,
        estimated_speedup=candidate.estimated_speedup,
        cause=candidate.cause,
        evaluation=_evaluation(candidate),
        damage=candidate.damage,
        build_s=candidate.build_s,
    )


def _state(candidate: CandidateRecord) -> str:
    """A finalist that only failed to be verified gets another chance: the device may be reachable again."""
    return COMPLETE if candidate.state == FAILED and candidate.search_drop is not None else candidate.state


def _evaluation(candidate: CandidateRecord) -> EvaluationResult | None:
    drop = candidate.search_drop
    if drop is None:
        return None
    return EvaluationResult(
        accuracy=MeasuredAccuracy("", float("nan"), drop.n),
        drop=drop,
        damage=candidate.damage if candidate.damage is not None else float("nan"),
        speedup=candidate.search_speedup,
        size_bytes=candidate.size_bytes or 0,
        deflate_bytes=candidate.deflate_bytes,
        stopped_early=False,
        build_s=candidate.build_s or 0.0,
        evaluate_s=candidate.evaluate_s or 0.0,
    )
