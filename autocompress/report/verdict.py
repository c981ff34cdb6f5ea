"""What came out, in words: shared by the page, the Markdown and the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from autocompress.report.counted_size import counted_bytes, is_compressed, times_smaller
from autocompress.report.speed import speed_sentence, speed_words
from autocompress.report.wording import Scale, bounds, milliseconds, plural, sentence, size, times

Tone = Literal["met", "estimated", "missed", "explored", "unfinished"]
Summary = Mapping[str, Any]

_UNCHANGED = "the original model, unchanged"


@dataclass(frozen=True)
class Verdict:
    """The result in words.

    Attributes:
        tone: what kind of result it is.
        headline: the result, a few words.
        sentences: what it rests on, most important first.
    """

    tone: Tone
    headline: str
    sentences: tuple[str, ...]


def summary_scale(summary: Summary) -> Scale:
    """How values of the study's metric are shown."""
    return Scale(summary.get("metric_unit") or "")


def has_target(summary: Summary) -> bool:
    """Whether anything was asked for beyond the accuracy limit."""
    return any(summary.get(key) is not None for key in ("target_speedup", "target_latency_ms", "target_size"))


def target_words(summary: Summary) -> str:
    """The targets and the limit: "2.00x faster, at most 1.00 points of accuracy drop"."""
    parts = []
    if summary.get("target_speedup") is not None:
        parts.append(f"{times(summary['target_speedup'])} faster")
    if summary.get("target_latency_ms") is not None:
        parts.append(f"at most {milliseconds(summary['target_latency_ms'])}")
    if summary.get("target_size") is not None:
        kind = "compressed size" if is_compressed(summary) else "size"
        parts.append(f"{kind} {_size_target(summary['target_size'])}")
    if summary.get("max_accuracy_drop") is not None:
        parts.append(f"at most {summary_scale(summary).amount(summary['max_accuracy_drop'])} of accuracy drop")
    return ", ".join(parts) or "none"


def verdict(summary: Summary) -> Verdict:
    """The result of a study in words."""
    best = summary.get("best")
    if best is None:
        return _unfinished(summary)
    sentences = [_speed_sentence(summary, best), _accuracy_sentence(summary, best), _size_sentence(summary, best)]
    reason = summary.get("stop_reason")
    gain = _gain(summary, best)
    if not has_target(summary):
        tone: Tone = "explored"
        headline = f"{gain}, the best trade-off found" if best.get("trial", 0) is not None else _UNCHANGED
    elif summary.get("target_met"):
        tone, headline = "met", f"Target met: {gain}"
    elif summary.get("target_met_by_estimate"):
        tone, headline = "estimated", f"Target met by the estimate only: {gain}"
    else:
        tone = "missed"
        headline = "Target not reached: " + ("nothing better holds" if best.get("trial") is None else f"best {gain}")
        sentences.insert(0, f"Asked for: {target_words(summary)}.")
    if reason:
        sentences.insert(1 if tone == "missed" else len(sentences), sentence(reason))
    return Verdict(tone, headline, tuple(filter(None, sentences)))


def _unfinished(summary: Summary) -> Verdict:
    headline = {
        "failed": "The run failed before a result was verified",
        "running": "Not finished: no result is verified yet",
    }.get(str(summary.get("status")), "No result was emitted")
    reason = summary.get("stop_reason")
    return Verdict("unfinished", headline, (sentence(reason),) if reason else ())


def _gain(summary: Summary, best: Summary) -> str:
    if best.get("trial", 0) is None:
        return _UNCHANGED
    speed = speed_words(summary)
    only_size = summary.get("target_speedup") is None and summary.get("target_latency_ms") is None
    if summary.get("target_size") is not None and only_size and (factor := times_smaller(summary, best)):
        return f"{times(factor)} smaller, {speed}"
    return speed


def _speed_sentence(summary: Summary, best: Summary) -> str:
    if best.get("trial", 0) is None:
        return "The emitted file is the original model."
    return speed_sentence(summary)


def _accuracy_sentence(summary: Summary, best: Summary) -> str:
    drop = best.get("accuracy_drop")
    if drop is None or best.get("trial", 0) is None:
        return ""
    scale, baseline = summary_scale(summary), summary["baseline"]
    worse = "falls" if summary.get("higher_is_better", True) else "rises"
    better = "rises" if worse == "falls" else "falls"
    amount = scale.amount(drop)
    change = "does not change" if float(amount.split()[0]) == 0 else f"{worse if drop > 0 else better} by {amount}"
    values = f"from {scale.value(baseline.get('accuracy'))} to {scale.value(best.get('accuracy'))}"
    limit = summary.get("max_accuracy_drop")
    budget = "" if limit is None else f"; the budget is a drop of {scale.amount(limit)}"
    interval = scale.interval(best.get("accuracy_drop_ci95"))
    metric, samples = summary.get("metric_description") or summary["metric"], plural(best.get("n") or 0, "sample")
    return (
        f"{metric} {change}, {values} (95 % interval of the drop {interval}), on {samples} of the "
        f"verification part, which the search never saw{budget}.{_doubt(best, limit)}"
    )


def _doubt(best: Summary, limit: float | None) -> str:
    """What to add when the drop keeps the budget but its interval does not."""
    _, high = bounds(best.get("accuracy_drop_ci95"))
    if limit is None or high is None or not best["accuracy_drop"] <= limit < high:
        return ""
    return " The interval reaches beyond the budget: more samples would make it narrower."


def _size_sentence(summary: Summary, best: Summary) -> str:
    factor = times_smaller(summary, best)
    if factor is None or best.get("trial", 0) is None:
        return ""
    before, after = (size(counted_bytes(summary, part)) for part in (summary["baseline"], best))
    subject = "Compressed for transfer, the file" if is_compressed(summary) else "The file"
    change = f"{times(factor)} smaller" if factor >= 1.005 else "no smaller"
    return f"{subject} has {after} instead of {before} ({change})."


def _size_target(target: Any) -> str:
    if isinstance(target, Mapping):
        factor, n_bytes = target.get("factor"), target.get("size_bytes")
        return f"{times(factor)} smaller" if factor is not None else f"at most {size(n_bytes)}"
    return str(target)
