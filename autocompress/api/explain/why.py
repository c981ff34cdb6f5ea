"""Why int8 saves what it saves in one region: the float form and the int8 form side by side."""

from __future__ import annotations

from collections.abc import Sequence

from autocompress.api.explain import words
from autocompress.api.explain.executed import CONVERSION, KERNEL, LAYOUT, PricedOp
from autocompress.api.explain.kernels import is_small, shape_of_idleness
from autocompress.api.explain.reason import Reason
from autocompress.api.explain.reasons import Evidence, reasons_of
from autocompress.api.explain.regions import RegionTime
from autocompress.latency.estimator import BOUND

_SATISFYING = 1.5  # a kernel that gains more needs no explanation
_SHARE = 0.1  # of a region's int8 time from which a part is worth a word
_COUNTED = {CONVERSION: ("a conversion", "conversions"), LAYOUT: ("a change of layout", "changes of layout")}
_CODES_OF_KERNELS = ("memory_bound", "channels", "scheme")
_CODES_OF_CONVERSIONS = ("leftover_dequantize", "quantize", "requantize", "model_output", "model_input")


def reasons_of_region(before: RegionTime, after: RegionTime, evidence: Evidence) -> list[Reason]:
    """What there is to say about a region, the largest effects first.

    Args:
        before: in the float form.
        after: in the int8 form.
        evidence: of the int8 form.
    """
    found = [
        *_kernel(before, after, evidence),
        *_own_operators(before, after, evidence),
        *_part(after, evidence, CONVERSION, _CODES_OF_CONVERSIONS),
        *_part(after, evidence, LAYOUT, ("layout_change",)),
    ]
    return [reason for _, reason in sorted(found, key=lambda pair: -pair[0])]


def _kernel(before: RegionTime, after: RegionTime, evidence: Evidence) -> list[tuple[float, Reason]]:
    kernels, spent_us, was_us = after.part(KERNEL), after.us[KERNEL], before.us[KERNEL]
    if not kernels or not was_us:
        return []
    floats = [op for op in kernels if not op.integer]
    found = [
        (op.price.latency_us, reason)
        for op in floats
        for reason in reasons_of(op, evidence)
        if reason.code in ("stays_float", "not_fused", "no_integer_kernel")
    ]
    integers = [op for op in kernels if op.integer]
    if not integers or was_us >= _SATISFYING * spent_us or _only_bound((*integers, *before.part(KERNEL))):
        return found
    if all(is_small(op, evidence.estimator) for op in integers):
        return [*found, (spent_us, Reason("small", "small: most of its time is the fixed cost of an operator"))]
    found.append((spent_us, Reason("slow_integer_kernel", _slow_kernel(was_us, spent_us, integers, evidence))))
    for op in integers:
        found += [(0.5 * op.price.latency_us, r) for r in reasons_of(op, evidence) if r.code in _CODES_OF_KERNELS]
    return found


def _only_bound(ops: Sequence[PricedOp]) -> bool:
    """Whether a comparison would rest on a bound, which is good for a total only."""
    return any(op.price.source == BOUND for op in ops)


def _slow_kernel(was_us: float, spent_us: float, integers: list[PricedOp], evidence: Evidence) -> str:
    peak = evidence.estimator.roofline.int8_gmacs
    reached = sum(op.macs for op in integers) / max(sum(op.price.latency_us for op in integers), 1e-9) / 1e3
    return (
        f"the integer kernel takes {words.time(spent_us)} where the float one took {words.time(was_us)}: "
        f"it reaches {reached:.3g} of {peak:.3g} GMAC/s{shape_of_idleness(integers)}"
    )


def _own_operators(before: RegionTime, after: RegionTime, evidence: Evidence) -> list[tuple[float, Reason]]:
    """Operators beside the kernels: activations and joins that run on their own."""
    spent_us, was_us = after.us["rest"], before.us["rest"]
    if not after.part(KERNEL):
        return _without_kernel(before, after, evidence)
    if spent_us < _SHARE * after.total_us:
        return []
    names = list(dict.fromkeys(evidence.given.kind(op) for op in after.part("rest")))
    run = "runs on its own" if len(names) == 1 else "run on their own"
    were = f"that took {words.time(was_us)}" if was_us else "the kernel does that itself"
    text = f"{words.few(names)} {run} for {words.time(spent_us)}; in float {were}"
    return [(spent_us, Reason("own_operators", text))]


def _without_kernel(before: RegionTime, after: RegionTime, evidence: Evidence) -> list[tuple[float, Reason]]:
    """A region that only joins or pools: there is no arithmetic to save, only bytes."""
    spent_us, was_us = after.us["rest"], before.us["rest"]
    if not after.part("rest") or was_us >= _SATISFYING * spent_us:
        return []
    kinds = words.few(list(dict.fromkeys(evidence.given.kind(op) for op in after.part("rest"))))
    took = f"took {words.time(was_us)}" if was_us else "was part of another kernel"
    text = f"{kinds} has no products to save: on integers it takes {words.time(spent_us)}, in float it {took}"
    return [(spent_us, Reason("no_products", text))]


def _part(after: RegionTime, evidence: Evidence, part: str, codes: tuple[str, ...]) -> list[tuple[float, Reason]]:
    if after.us[part] < _SHARE * after.total_us:
        return []
    ops = sorted(after.part(part), key=lambda op: -op.price.latency_us)
    reasons = [r for op in ops for r in reasons_of(op, evidence) if r.code in codes]
    one, more = _COUNTED[part]
    count = f"{len(ops)} {more}" if len(ops) > 1 else one
    because = f": {reasons[0].text}" if reasons else ""
    return [(after.us[part], Reason(f"{part}s", f"{count} for {words.time(after.us[part])}{because}"))]
