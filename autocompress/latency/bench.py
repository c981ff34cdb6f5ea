"""What a profile measures with: a runtime, a table on disk, and an eye on the device."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from autocompress.errors import RuntimeFailure
from autocompress.graph.signature import OpSignature
from autocompress.latency.composition import ObservedModel
from autocompress.latency.in_place import InPlaceTimer, ModelTiming
from autocompress.latency.journal import TableFile
from autocompress.latency.record import LatencyRecord, better
from autocompress.latency.roofline import measure_float_gmacs, measure_roofline
from autocompress.latency.slope import time_operator
from autocompress.latency.steadiness import Steadiness
from autocompress.latency.table import LatencyTable
from autocompress.runtimes.protocol import ExecutedOp, Feeds, InPlaceRuntime, Runtime

_SECONDS_PER_OPERATOR = 0.05
_SECONDS_PER_MODEL = 0.6
_DRIFT = 1.15  # at most, from the speed that the table was begun at


class Bench:
    """Times operators, alone or in place as the runtime can, and puts each record on disk at once.

    Args:
        runtime: what executes them.
        file: where records go.
        known: a further table (one that ships) whose operators need not be measured.
        threads: intra-op threads.

    Attributes:
        runtime: as given.
        threads: as given.
        table: everything measured so far.

    Raises:
        TableError: when the file is damaged or about something else.
    """

    def __init__(
        self, runtime: Runtime, file: TableFile, *, known: LatencyTable | None = None, threads: int = 1
    ) -> None:
        self.runtime = runtime
        self.threads = threads
        self.table: LatencyTable = file.load()
        self._file = file
        self._known = known
        self._timer: InPlaceTimer | None = None
        self._taken: dict[str, LatencyRecord] = {}
        self._written = False
        self._start = time.perf_counter()

    @cached_property
    def steadiness(self) -> Steadiness | None:
        """Watches the device; None where the runtime cannot even run the reference work."""
        try:
            return Steadiness(self.runtime, self.threads)
        except RuntimeFailure:
            return None

    @property
    def in_place(self) -> bool:
        """Whether operators are timed within their models rather than alone."""
        return isinstance(self.runtime, InPlaceRuntime)

    @property
    def measured(self) -> int:
        """How many operators were measured with this bench."""
        return len(self._taken)

    @property
    def invalid(self) -> int:
        """How many operators among them have times that must not be used."""
        return sum(not record.valid for record in self._taken.values())

    @property
    def per_second(self) -> float:
        """Operators measured per second, on average."""
        return self.measured / max(time.perf_counter() - self._start, 1e-6)

    def begin(self) -> str | None:
        """Makes ready for measuring, or says why nothing should be measured now.

        A device must not be disturbed, and must run at the speed that the table was begun at.  A table that is not on
        disk yet gets the constants of the device as it runs now.
        """
        self._start = time.perf_counter()
        if self.steadiness is None:  # then operators say themselves what is wrong
            return None
        if (refusal := self.steadiness.refusal()) is not None:
            return refusal
        if not self.table.header.constants:
            self._measure_constants()
        elif self._file.path.exists():
            return self._drift()
        return None

    def lasting_refusal(self) -> str | None:
        """Why measuring should end now, though it could begin."""
        return None if self.steadiness is None else self.steadiness.lasting_refusal()

    def lacks(self, ops: Sequence[ExecutedOp]) -> dict[str, ExecutedOp]:
        """The distinct operators, by key, that no table has; one that can run alone if there is one."""
        missing: dict[str, ExecutedOp] = {}
        for op in ops:
            have = missing.get(op.signature.key)
            if self._find(op.signature) is None and (have is None or have.standalone is None):
                missing[op.signature.key] = op
        return missing

    def time_op(self, op: ExecutedOp) -> None:
        """Times one operator alone; of two times of one operator the better is kept.

        Raises:
            StorageError: when the file cannot be written.
        """
        try:
            timing = time_operator(
                self.runtime, op, threads=self.threads, budget_s=_SECONDS_PER_OPERATOR, steadiness=self.steadiness
            )
        except RuntimeFailure as error:
            self._keep(LatencyRecord(op.signature, 0.0, 0.0, 0.0, 0, str(error)))
            return
        us = timing.median_us, timing.minimum_us, timing.spread_us
        self._keep(LatencyRecord(op.signature, *us, timing.repeats, timing.invalid_reason))

    def time_model(self, model: bytes | str, feeds: Feeds, *, again: bool = False) -> ModelTiming:
        """Times a model and its operators in place; what does not agree with its own time is timed once more, longer.

        Args:
            model: serialized model, or a path.
            feeds: one array per input.
            again: whether to keep the better times of operators that a table has, too; else the first count.

        Raises:
            RuntimeFailure: when the runtime refuses the model or fails.
            StorageError: when the file cannot be written.
        """
        if self._timer is None:
            assert isinstance(self.runtime, InPlaceRuntime)
            self._timer = InPlaceTimer(self.runtime, self.threads, self.steadiness)
        timing = self._timer.time_model(model, feeds, budget_s=_SECONDS_PER_MODEL)
        if not timing.valid:
            longer = self._timer.time_model(model, feeds, budget_s=2 * _SECONDS_PER_MODEL)
            timing = longer if longer.valid else timing
        for record in timing.records:
            if again or self._find(record.signature) is None:
                self._keep(record)
        return timing

    def keep_model(self, name: str, model: ObservedModel) -> None:
        """Puts one whole model on disk.

        Raises:
            StorageError: when the file cannot be written.
        """
        self._file.append_model(name, model)
        self._written = True
        self.table.add_model(name, model)

    def close(self) -> LatencyTable:
        """Folds what was measured into the table's file and returns the table."""
        if self._written:
            self.table = self._file.compact()
        return self.table

    def _find(self, signature: OpSignature) -> LatencyRecord | None:
        found = self.table.find(signature)
        return self._known.find(signature) if found is None and self._known is not None else found

    def _keep(self, record: LatencyRecord) -> None:
        have = self.table.find(record.signature)
        if have is not None and better(have, record) is have:
            self._taken[record.signature.key] = have
            return
        self._taken[record.signature.key] = record
        self._file.append(record)
        self._written = True
        self.table.add(record)

    def _measure_constants(self) -> None:
        constants = measure_roofline(self.runtime, self.threads).to_constants()
        self.table.header = replace(self.table.header, constants=constants)
        self._file = self._file.about(self.table.header)

    def _drift(self) -> str | None:
        ratio = self.table.header.constants["float_gmacs"] / measure_float_gmacs(self.runtime, self.threads)
        if 1 / _DRIFT <= ratio <= _DRIFT:
            return None
        return (
            f"equal work now takes {ratio:.2f} times as long as when {self._file.path.name} was begun: the processor's "
            f"clock has changed or other programs are running; profile again when it is as it was, or into a new table"
        )
