"""The time of one operator, free of what running a model costs.

The operator runs n times side by side in one model, each copy with weights of its own, and once in another; both are
timed in turn, and

    t = (T_n - T_1) / (n - 1).

What a run costs besides (feeding, returning results, changing layouts) is in both and cancels.  Copies are enough for
their weights to leave the inner caches, as they do in a network.

Several threads are timed by the wall clock; a round in which the scheduler took a processor away does not count then.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from autocompress.latency.steadiness import Steadiness, disturbed_reason, is_disturbed, is_steady
from autocompress.runtimes.protocol import Array, ExecutedOp, Runtime, Session, SessionOptions
from autocompress.runtimes.timing import Samples
from autocompress.runtimes.work import weight_bytes

_COLD_BYTES = 4 << 20
_FEWEST_COPIES, _MOST_COPIES = 3, 10
_FEWEST_ROUNDS, _MOST_ROUNDS = 7, 80
_FEWEST_KEPT = 3
_ATTEMPTS = 3
_PATIENCE_S = 0.5  # for an undisturbed moment
_SHORTEST_US = 0.02  # below it an operator is nothing that a clock could see
_UNSTABLE = 0.5  # median absolute deviation over median of a disturbed series
_COLLAPSED = 0.2  # fastest over usual slope: the fastest runs of the two models were not of one kind


@dataclass(frozen=True)
class OperatorTiming:
    """What was observed of one operator.

    Attributes:
        median_us: median.
        minimum_us: difference of the fastest runs.
        spread_us: median absolute deviation.
        repeats: timed rounds.
        invalid_reason: why the times must not be used; None if they may.
    """

    median_us: float
    minimum_us: float
    spread_us: float
    repeats: int
    invalid_reason: str | None = None


def time_operator(
    runtime: Runtime,
    op: ExecutedOp,
    *,
    threads: int = 1,
    budget_s: float = 0.05,
    steadiness: Steadiness | None = None,
) -> OperatorTiming:
    """Times one operator by the slope over copies.

    Args:
        runtime: what executes it.
        op: must have a standalone model.
        threads: intra-op threads.
        budget_s: seconds of running to spend per attempt, loading not counted.
        steadiness: watches the device; an attempt in a disturbed moment is repeated, at most twice.

    Raises:
        RuntimeFailure: when the runtime cannot run the operator alone.
    """
    if op.standalone is None:
        return OperatorTiming(0.0, 0.0, 0.0, 0, "the runtime cannot run it alone")
    copies = int(np.clip(-(-_COLD_BYTES // max(weight_bytes(op.signature), 1)), _FEWEST_COPIES, _MOST_COPIES))
    options = SessionOptions(threads=threads, optimize=False)
    one = runtime.load(runtime.replicate(op.standalone, 1), options)
    many = runtime.load(runtime.replicate(op.standalone, copies), options)
    feeds = synthetic_feeds(one)
    best: OperatorTiming | None = None
    for attempt in range(_ATTEMPTS):
        before = steadiness.wait(_PATIENCE_S) if steadiness is not None else 1.0
        timing = _slope(one, many, copies, feeds, budget_s * 2**attempt)
        after = steadiness.slowdown() if steadiness is not None else 1.0
        # What was quiet at one end was quiet for some of the rounds, and the fastest of them count.
        if is_disturbed(min(before, after)):
            timing = replace(timing, invalid_reason=disturbed_reason(min(before, after)))
        best = timing if best is None else _better(best, timing)
        if best.invalid_reason is None and is_steady(max(before, after)):
            break
    assert best is not None
    return best


def _better(one: OperatorTiming, other: OperatorTiming) -> OperatorTiming:
    """The valid one, or the faster: what disturbs only ever adds."""
    return min((one, other), key=lambda timing: (timing.invalid_reason is not None, timing.minimum_us))


def _slope(one: Session, many: Session, copies: int, feeds: dict[str, Array], budget_s: float) -> OperatorTiming:
    one.time_runs(feeds)
    first = min(many.time_runs(feeds) for _ in range(2))
    rounds = int(np.clip(budget_s / max(2 * first, 1e-6), _FEWEST_ROUNDS, _MOST_ROUNDS))
    of_one, of_many = Samples(runs=1), Samples(runs=1)
    for _ in range(rounds):
        of_one.take(one, feeds)
        of_many.take(many, feeds)
    kept, reason = _undisturbed(of_one, of_many, one.clock), None
    if len(kept) < _FEWEST_KEPT:
        kept, reason = np.arange(rounds), "the scheduler took a processor away in nearly every sample"
    short, long = np.asarray(of_one.seconds)[kept], np.asarray(of_many.seconds)[kept]
    scale = 1e6 / (copies - 1)
    median = float(np.median(long) - np.median(short)) * scale
    minimum = float(long.min() - short.min()) * scale
    spread = float(np.median(np.abs(long - np.median(long)))) * scale
    if reason is None and spread > _UNSTABLE * max(float(np.median(long)) * scale, _SHORTEST_US):
        reason = "the clock was unstable: other work disturbed the device"
    elif reason is None and minimum < -0.05 * float(long.min()) * scale:
        reason = "more copies took less time: other work disturbed the device"
    elif reason is None and minimum < _COLLAPSED * median:
        reason = "the fastest runs say far less than the usual ones: other work disturbed the device"
    minimum = max(minimum, _SHORTEST_US)
    return OperatorTiming(max(median, minimum), minimum, spread, len(kept), reason)


def _undisturbed(of_one: Samples, of_many: Samples, clock: str) -> npt.NDArray[np.intp]:
    """Rounds to judge by: under the wall clock those in which no processor was taken away; else all."""
    disturbed = np.asarray(of_one.disturbed) | np.asarray(of_many.disturbed)
    return np.flatnonzero(~disturbed) if clock == "wall" else np.arange(len(disturbed))


def synthetic_feeds(session: Session, seed: int = 0) -> dict[str, Array]:
    """Values for the activations of a one-operator model; integer ones carry their own values.

    Floats are positive and of order one, so that roots, logarithms and powers stay on their usual path.
    """
    rng = np.random.default_rng(seed)
    feeds: dict[str, Array] = {}
    for spec in session.inputs:
        shape = tuple(size if isinstance(size, int) else 1 for size in spec.shape)
        if spec.dtype.startswith(("float", "bfloat")):
            feeds[spec.name] = np.asarray(0.05 + np.abs(rng.standard_normal(shape)), spec.dtype)
        elif spec.dtype in ("uint8", "int8"):
            limits = np.iinfo(spec.dtype)
            values = rng.integers(limits.min, limits.max, shape, endpoint=True)
            feeds[spec.name] = np.asarray(values, spec.dtype)
    return feeds
