"""The times of a model's operators within the model, for runtimes that cannot run one operator alone.

Such a runtime accounts for each operator while the model runs (``InPlaceRuntime``).  Accounting costs time itself and
counts in coarse steps, so the model is also timed without it, and the operators are scaled so that

    sum over operators = time of the unaccounted run - what a run costs.

What a run costs is that of a model with next to nothing to do.  Rounds of both kinds alternate, so that a disturbance
hits both.  Where the two sides differ by more than 15 % and what counting in steps explains, the account cannot be
trusted, and no operator of the model is valid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autocompress.latency.record import LatencyRecord
from autocompress.latency.reference_work import elementwise
from autocompress.latency.steadiness import Steadiness, disturbed_reason, is_disturbed
from autocompress.runtimes.protocol import ExecutedOp, Feeds, InPlaceRuntime, OpTime, SessionOptions
from autocompress.runtimes.timing import time_session

_ROUNDS = 2
_TOLERANCE = 0.15  # of the model's own time, besides what rounding may explain
_PATIENCE_S = 0.5  # for an undisturbed moment
_SHORTEST_US = 0.02  # what the account rounds to nothing still takes some time
_FEWEST_REPEATS = 3
_RUN_COST_S = 0.1


@dataclass(frozen=True)
class ModelTiming:
    """A model and its operators, timed together.

    Attributes:
        ops: the operators, in the order of execution.
        records: one per distinct signature; invalid ones say why.
        latency_us: a run of the whole model without accounting, the quietest of several moments.
        scale: factor that the account was multiplied by.
    """

    ops: tuple[ExecutedOp, ...]
    records: tuple[LatencyRecord, ...]
    latency_us: float
    scale: float

    @property
    def valid(self) -> bool:
        """Whether the account of the operators agrees with the time of the model."""
        return bool(self.records) and all(record.valid for record in self.records)


class InPlaceTimer:
    """Times models and their operators in place.

    Args:
        runtime: what executes them.
        threads: intra-op threads.
        steadiness: watches the device; each round waits for an undisturbed moment, within limits.

    Raises:
        RuntimeFailure: when the runtime cannot even run a model with next to nothing to do.
    """

    def __init__(self, runtime: InPlaceRuntime, threads: int = 1, steadiness: Steadiness | None = None) -> None:
        self._runtime = runtime
        self._threads = threads
        self._steadiness = steadiness
        self._run_cost_us = self._cost_of_a_run()

    def time_model(self, model: bytes | str, feeds: Feeds, *, budget_s: float = 0.6) -> ModelTiming:
        """Times one model and each of its operators.

        Args:
            model: serialized model, or a path.
            feeds: one array per input.
            budget_s: seconds of running to spend, loading not counted.

        Raises:
            RuntimeFailure: when the runtime refuses the model or fails.
        """
        slice_s = budget_s / (2 * _ROUNDS)
        session = self._runtime.load(model, SessionOptions(threads=self._threads))
        whole_us: list[float] = []
        accounts = []
        quietest = 1.0 if self._steadiness is None else float("inf")
        for _ in range(_ROUNDS):
            if self._steadiness is not None:
                quietest = min(quietest, self._steadiness.wait(_PATIENCE_S))
            timed = time_session(session, feeds, budget_s=slice_s, min_repeats=_FEWEST_REPEATS)
            whole_us.append(1e3 * timed.latency_ms)
            accounts.append(self._runtime.time_in_place(model, feeds, threads=self._threads, budget_s=slice_s))
        accounts = _alike(accounts)
        ops = tuple(time.op for time in accounts[0])
        times_us = np.asarray([[time.latency_us for time in account] for account in accounts], np.float64)
        resolution_us = max((time.resolution_us for time in accounts[0]), default=0.0)
        latency_us = min(whole_us)
        expected_us = max(latency_us - self._run_cost_us, _SHORTEST_US)
        account_us = max(float(times_us.min(axis=0).sum()), _SHORTEST_US)
        reason = _reason(account_us, expected_us, resolution_us * len(ops), quietest)
        scale = expected_us / account_us
        return ModelTiming(ops, _records(ops, times_us * scale, resolution_us, reason), latency_us, scale)

    def _cost_of_a_run(self) -> float:
        model, feeds = elementwise(1), {"x": np.ones(1, np.float32)}
        session = self._runtime.load(model, SessionOptions(threads=self._threads))
        whole_us = 1e3 * time_session(session, feeds, budget_s=_RUN_COST_S).latency_ms
        account = self._runtime.time_in_place(model, feeds, threads=self._threads, budget_s=_RUN_COST_S)
        return max(whole_us - sum(time.latency_us for time in account), 0.0)


def _alike(accounts: Sequence[Sequence[OpTime]]) -> list[Sequence[OpTime]]:
    """The accounts of the usual graph: a runtime may compile one model in more than one way."""
    graphs = [tuple(time.op.signature.key for time in account) for account in accounts]
    usual = max(graphs, key=graphs.count)
    return [account for account, graph in zip(accounts, graphs, strict=True) if graph == usual]


def _records(
    ops: Sequence[ExecutedOp], times_us: npt.NDArray[np.float64], resolution_us: float, reason: str | None
) -> tuple[LatencyRecord, ...]:
    """One record per signature: the median over its places within a round, then over rounds.

    Args:
        ops: the operators.
        times_us: of shape (rounds, operators).
        resolution_us: of the account; part of the spread, since no repetition makes it finer.
        reason: why the times must not be used, or None.
    """
    places: dict[str, list[int]] = {}
    for position, op in enumerate(ops):
        places.setdefault(op.signature.key, []).append(position)
    records = []
    for positions in places.values():
        within = times_us[:, positions]
        rounds = np.maximum(np.median(within, axis=1), _SHORTEST_US)
        median = float(np.median(rounds))
        spread = float(np.median(np.abs(within - median)))
        records.append(
            LatencyRecord(
                signature=ops[positions[0]].signature,
                median_us=median,
                minimum_us=float(rounds.min()),
                spread_us=float(np.hypot(spread, resolution_us)),
                repeats=len(rounds) * len(positions),
                invalid_reason=reason,
            )
        )
    return tuple(records)


def _reason(account_us: float, expected_us: float, rounding_us: float, slowdown: float) -> str | None:
    if is_disturbed(slowdown):
        return disturbed_reason(slowdown)
    if abs(account_us - expected_us) <= _TOLERANCE * expected_us + rounding_us / 2:
        return None
    return (
        f"the runtime's account of the operators adds up to {account_us / expected_us:.2f} times the model's own time"
    )
