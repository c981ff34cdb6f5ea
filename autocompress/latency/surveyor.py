"""Times one zoo model, or a few layers, at a time; in this process or, behind the same protocol, in another one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from autocompress.errors import RuntimeFailure
from autocompress.latency.bench import Bench
from autocompress.latency.families import family_of
from autocompress.latency.whole_models import observe
from autocompress.latency.zoo.catalogue import Architecture
from autocompress.latency.zoo.layers import Layer, layer_of, network_of
from autocompress.latency.zoo.variant import Variant
from autocompress.runtimes.protocol import ExecutedOp, Feeds, Session, SessionOptions
from autocompress.runtimes.timing import time_session

_MODEL_SLICES, _SLICE_S = 5, 0.15
_FEWEST_REPEATS = 3
_PATIENCE_S = 1.0
# Mixed models have many conversions alike; more of them teach a forest nothing.
_FAMILY_LIMIT = 800


@dataclass(frozen=True)
class Step:
    """What one step of a survey did.

    Attributes:
        measured: operators that were measured.
        invalid: operators among them whose times must not be used.
        refusal: why there should be no further step; None where there may be.
    """

    measured: int = 0
    invalid: int = 0
    refusal: str | None = None


class Surveyor(Protocol):
    """What times the parts of a survey; everything measured is on disk when a call returns."""

    def begin(self) -> str | None:
        """Makes ready, or says why nothing should be measured now."""
        ...

    def time_zoo_model(self, architecture: Architecture, variant: Variant, *, again: bool = False) -> Step:
        """Times a zoo model, and those of its operators that the table lacks (with ``again``, all of them).

        Raises:
            RuntimeFailure, CandidateFailed: when the runtime refuses the model, fails or dies.
            StorageError: when the table cannot be written.
        """
        ...

    def time_layers(self, layers: Sequence[Layer], seed: int) -> Step:
        """Times what a network of a few layers side by side becomes.

        Raises:
            RuntimeFailure, CandidateFailed: when the runtime refuses the network, fails or dies.
            StorageError: when the table cannot be written.
        """
        ...


class LocalSurveyor:
    """Times in this process; see ``Surveyor``.

    Args:
        bench: what to measure with.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._again: set[str] = set()

    def begin(self) -> str | None:
        """Makes the bench ready."""
        return self._bench.begin()

    def time_zoo_model(self, architecture: Architecture, variant: Variant, *, again: bool = False) -> Step:
        """Times a zoo model and its operators."""
        bench, before = self._bench, (self._bench.measured, self._bench.invalid)
        name, time_model = model_name(architecture, variant), self._in_place if bench.in_place else self._alone
        known = bench.table.models.get(name)
        ops, latency_us = time_model(architecture.build(variant), architecture.feeds(), again)
        fastest_us = latency_us if known is None else min(latency_us, known.latency_us)
        bench.keep_model(name, observe(architecture.family, ops, bench.table, fastest_us))
        return self._step(*before)

    def time_layers(self, layers: Sequence[Layer], seed: int) -> Step:
        """Times what a few layers become; what surrounds them at the edges of so small a network is left out."""
        bench, before = self._bench, (self._bench.measured, self._bench.invalid)
        model, feeds = network_of(layers, seed)
        if bench.in_place:
            bench.time_model(model, feeds)
        else:
            ops = bench.runtime.executed_ops(model, feeds, threads=bench.threads)
            for op in bench.lacks(ops).values():
                if layer_of(op.signature) is not None:
                    bench.time_op(op)
        return self._step(*before)

    def _step(self, measured: int, invalid: int) -> Step:
        bench = self._bench
        return Step(bench.measured - measured, bench.invalid - invalid, bench.lasting_refusal())

    def _in_place(self, model: bytes, feeds: Feeds, again: bool) -> tuple[Sequence[ExecutedOp], float]:
        timing = self._bench.time_model(model, feeds, again=again)
        if not timing.valid:
            raise RuntimeFailure(timing.records[0].invalid_reason or "it executes no operator")
        return timing.ops, timing.latency_us

    def _alone(self, model: bytes, feeds: Feeds, again: bool) -> tuple[Sequence[ExecutedOp], float]:
        threads = self._bench.threads
        ops = self._bench.runtime.executed_ops(model, feeds, threads=threads)
        session = self._bench.runtime.load(model, SessionOptions(threads=threads))
        todo = self._worth_measuring(ops, again)
        slices_us = []
        # The model is timed in slices between its operators, so that no single disturbance covers all of them.
        for part in range(_MODEL_SLICES):
            slices_us.append(self._time_slice(session, feeds))
            for op in todo[part::_MODEL_SLICES]:
                self._bench.time_op(op)
        return ops, min(slices_us)

    def _time_slice(self, session: Session, feeds: Feeds) -> float:
        if self._bench.steadiness is not None:
            self._bench.steadiness.wait(_PATIENCE_S)
        return 1e3 * time_session(session, feeds, budget_s=_SLICE_S, min_repeats=_FEWEST_REPEATS).latency_ms

    def _worth_measuring(self, ops: Sequence[ExecutedOp], again: bool) -> list[ExecutedOp]:
        """One operator per signature: those the table lacks while their family has room, and those to measure again."""
        counts = Counter(family_of(record.signature) for record in self._bench.table)
        lacking = self._bench.lacks(ops)
        chosen = [op for op in lacking.values() if counts[family_of(op.signature)] < _FAMILY_LIMIT]
        if again:
            known = {op.signature.key: op for op in ops if op.signature.key not in lacking}
            chosen += [op for key, op in known.items() if key not in self._again]
            self._again |= known.keys() | lacking.keys()
        return chosen


def model_name(architecture: Architecture, variant: Variant) -> str:
    """What a zoo model is called in a table."""
    return f"{architecture.name}/{variant.name}"
