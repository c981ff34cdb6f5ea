"""From judged models to the numbers of the report."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from latency_scoring.anchors import COUNTS, anchored
from latency_scoring.judged import OURS, Judged
from latency_scoring.ours import UNPRICED
from latency_scoring.scores import Pair, accuracy, ranking, signs

ALL = "all"
_INT8_RECIPES = ("int8", "int8_signed", "dynamic")


def scores(models: Sequence[Judged]) -> dict[str, Any]:
    """All scores.

    Returns:
        ``accuracy`` (per set, k and setting), ``forms``, ``families``, ``methods`` (every method, all settings
        together), ``ranking``, ``signs`` and ``priced``; each a list of rows.
    """
    sets = sorted({m.form.set for m in models})
    return {
        "accuracy": [row for s in sets for row in _accuracy_rows(_of(models, s), s)],
        "forms": _split(models, lambda m: m.form.recipe if m.form.set == "C" else m.form.name, "form"),
        "families": _split(models, lambda m: m.form.model, "model"),
        "methods": [row for s in sets for row in _method_rows(_of(models, s), s)],
        "ranking": _ranking_rows(_of(models, "C")),
        "signs": [row for s in sets for row in _sign_rows(_of(models, s), s)],
        "priced": [_priced_row(_of(models, s), s) for s in sets],
    }


def pairs_of(models: Sequence[Judged], method: str, k: int = 0) -> list[Pair]:
    """Models with what a method says of them, corrected by k measured candidates of the same model where k > 0."""
    usable = [m for m in models if method in m.predictions]
    if k == 0:
        return [(m, m.predictions[method]) for m in usable]
    return [pair for group in candidate_groups(usable) for pair in anchored(group, method, k)]


def candidate_groups(models: Iterable[Judged]) -> list[list[Judged]]:
    """The candidates of one model in one setting each."""
    groups: dict[tuple[str, str, str], list[Judged]] = defaultdict(list)
    for m in models:
        groups[m.form.set, m.form.model, m.setting].append(m)
    return list(groups.values())


def _accuracy_rows(models: Sequence[Judged], of: str) -> list[dict[str, Any]]:
    rows = []
    for k in COUNTS if of == "C" else (0,):
        for setting in (ALL, *_settings(models)):
            chosen = [m for m in models if setting in (ALL, m.setting)]
            rows.append({"set": of, "k": k, "setting": setting, **accuracy(pairs_of(chosen, OURS, k))})
    return rows


def _method_rows(models: Sequence[Judged], of: str) -> list[dict[str, Any]]:
    rows = []
    for k in (0, 2) if of == "C" else (0,):
        for method in _methods(models):
            pairs = pairs_of(models, method, k)
            rows.append({"set": of, "k": k, "method": method, **accuracy(pairs)})
    return rows


def _ranking_rows(models: Sequence[Judged]) -> list[dict[str, Any]]:
    groups = candidate_groups(models)
    rows = []
    for k in COUNTS:
        for method in _methods(models):
            usable = [[m for m in g if method in m.predictions] for g in groups]
            rows.append({"k": k, "method": method, **ranking([pairs_of(g, method, k) for g in usable if g])})
    return rows


def _sign_rows(models: Sequence[Judged], of: str) -> list[dict[str, Any]]:
    rows = []
    for method in _methods(models):
        by_form = {(m.form.base_key, m.setting, m.form.recipe): m for m in models if method in m.predictions}
        found = [
            ((plain, plain.predictions[method]), (quantized, quantized.predictions[method]))
            for (base, setting, recipe), quantized in by_form.items()
            if recipe in _INT8_RECIPES and (plain := by_form.get((base, setting, "float"))) is not None
        ]
        rows.append({"set": of, "method": method, **signs(found)})
    return rows


def _priced_row(models: Sequence[Judged], of: str) -> dict[str, Any]:
    nodes: Counter[str] = Counter()
    for m in models:
        nodes.update(m.nodes)
    total = sum(nodes.values())
    shares: Counter[str] = Counter()
    for m in models:
        for source, share in m.time_share.items():
            shares[source] += share / len(models)  # type: ignore[assignment]
    return {
        "set": of,
        "nodes": total,
        "unpriced": nodes[UNPRICED],
        "node_share": {source: count / total for source, count in sorted(nodes.items())},
        "time_share": {source: float(share) for source, share in sorted(shares.items())},
        "models_all_hits": sum(set(m.nodes) == {"table"} for m in models),
        "models": len(models),
    }


def _split(models: Sequence[Judged], part: Callable[[Judged], str], name: str) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str], list[Judged]] = defaultdict(list)
    for m in models:
        groups[m.form.set, part(m)].append(m)
    return [{"set": of, name: value, **accuracy(pairs_of(group, OURS))} for (of, value), group in groups.items()]


def _of(models: Sequence[Judged], of: str) -> list[Judged]:
    return [m for m in models if m.form.set == of]


def _settings(models: Sequence[Judged]) -> list[str]:
    return list(dict.fromkeys(m.setting for m in models))


def _methods(models: Sequence[Judged]) -> list[str]:
    return list(dict.fromkeys(name for m in models for name in m.predictions))
