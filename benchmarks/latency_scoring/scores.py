"""Scores of a group of models: how far off, how often close, in which order, and the noise floor beside each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from latency_scoring.judged import Judged, Prediction
from latency_scoring.measures import Share, close_windows, regret, relative_errors, spearman, within

Pair = tuple[Judged, Prediction]
_CLOSE, _FAR = 0.05, 0.10
_CHOSEN_WITHIN = 0.02
_SIGN_MARGIN = 0.05


def accuracy(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Errors of one method on some models, and what two measurements of the same models differ by."""
    truth = [judged.truth_ms for judged, _ in pairs]
    predicted = [prediction.latency_ms for _, prediction in pairs]
    errors = relative_errors(truth, predicted)
    scores: dict[str, Any] = {"n": len(pairs)}
    if not pairs:
        return scores
    scores.update(
        mape=float(np.abs(errors).mean()),
        bias=float(errors.mean()),
        worst=float(np.abs(errors).max()),
        within_5=within(errors, _CLOSE).to_dict(),
        within_10=within(errors, _FAR).to_dict(),
        spearman=_number(spearman(truth, predicted)),
        noise=noise_floor([judged for judged, _ in pairs]),
    )
    with_intervals = [(j, p) for j, p in pairs if p.low_ms is not None and p.high_ms is not None]
    if with_intervals:
        holds = [p.low_ms <= j.truth_ms <= p.high_ms for j, p in with_intervals]  # type: ignore[operator]
        widths = [(p.high_ms - p.low_ms) / p.latency_ms for _, p in with_intervals]  # type: ignore[operator]
        scores["interval90"] = {**Share(sum(holds), len(holds)).to_dict(), "mean_width": float(np.mean(widths))}
    return scores


def noise_floor(models: Iterable[Judged]) -> dict[str, Any]:
    """The second round of each model judged as if it were a prediction of the first."""
    rounds = [m.rounds_ms for m in models if len(m.rounds_ms) >= 2]
    if not rounds:
        return {"n": 0}
    errors = relative_errors([r[0] for r in rounds], [r[1] for r in rounds])
    return {
        "n": len(rounds),
        "mape": float(np.abs(errors).mean()),
        "within_5": within(errors, _CLOSE).to_dict(),
        "within_10": within(errors, _FAR).to_dict(),
    }


def ranking(groups: Sequence[Sequence[Pair]]) -> dict[str, Any]:
    """How well candidates of one model are ordered, averaged over models; also among those hard to tell apart.

    Args:
        groups: the candidates of one model in one setting each.
    """
    whole = [_rank(group) for group in groups if len(group) >= 3]
    windows = [[group[i] for i in w] for group in groups for w in close_windows([j.truth_ms for j, _ in group])]
    regrets = [regret([j.truth_ms for j, _ in w], [p.latency_ms for _, p in w]) for w in windows]
    scores: dict[str, Any] = {"groups": len(whole), "spearman": _mean(whole), "windows": len(windows)}
    if windows:
        scores.update(
            close_spearman=_mean([_rank(w) for w in windows]),
            close_spearman_noise=_mean([_rank_noise([j for j, _ in w]) for w in windows]),
            mean_regret=float(np.mean(regrets)),
            worst_regret=float(np.max(regrets)),
            chosen_within_2=Share(sum(r <= _CHOSEN_WITHIN for r in regrets), len(regrets)).to_dict(),
        )
    return scores


def signs(pairs_of_forms: Iterable[tuple[Pair, Pair]]) -> dict[str, Any]:
    """Whether int8 is rightly said to be faster, or slower, than float.

    Args:
        pairs_of_forms: (float, int8) forms of the same model in the same setting; those whose true times differ by
            less than 5 % do not count.
    """
    right = counted = 0
    wrong: list[str] = []
    for (plain, said_plain), (quantized, said_quantized) in pairs_of_forms:
        true = quantized.truth_ms / plain.truth_ms - 1.0
        if abs(true) <= _SIGN_MARGIN:
            continue
        counted += 1
        said = said_quantized.latency_ms / said_plain.latency_ms - 1.0
        if np.sign(said) == np.sign(true):
            right += 1
        else:
            wrong.append(f"{quantized.form.key} ({quantized.setting})")
    return {**Share(right, counted).to_dict(), "wrong": wrong}


def _rank(group: Sequence[Pair]) -> float:
    return spearman([j.truth_ms for j, _ in group], [p.latency_ms for _, p in group])


def _rank_noise(models: Sequence[Judged]) -> float:
    """Rank correlation of the first two rounds."""
    if any(len(m.rounds_ms) < 2 for m in models):
        return float("nan")
    return spearman([m.rounds_ms[0] for m in models], [m.rounds_ms[1] for m in models])


def _mean(values: Sequence[float]) -> float | None:
    usable = [v for v in values if not np.isnan(v)]
    return float(np.mean(usable)) if usable else None


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value
