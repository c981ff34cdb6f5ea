"""A deterministic runtime that accounts for operators within a model and cannot run one alone."""

from __future__ import annotations

from collections.abc import Sequence

from autocompress.runtimes.protocol import ExecutedOp, Feeds, OpTime
from autocompress.runtimes.replay import NominalDevice, ReplayRuntime


class InPlaceReplay(ReplayRuntime):
    """Replays times in place.

    Args:
        inflation: factor by which the account overstates each operator.
        resolution_us: of the account.
        recorded_us: as ``ReplayRuntime``.
        device: as ``ReplayRuntime``.
    """

    def __init__(
        self,
        *,
        inflation: float = 1.0,
        resolution_us: float = 0.0,
        recorded_us: dict[str, float] | None = None,
        device: NominalDevice | None = None,
    ) -> None:
        super().__init__(recorded_us, device)
        self.inflation = inflation
        self.resolution_us = resolution_us
        self.accounts = 0

    def executed_ops(
        self, model: bytes | str, feeds: Feeds, *, threads: int = 1, standalone: bool = True, optimize: bool = True
    ) -> Sequence[ExecutedOp]:
        return super().executed_ops(model, feeds, threads=threads, standalone=False, optimize=optimize)

    def replicate(self, standalone: bytes, copies: int) -> bytes:
        raise AssertionError("a runtime that times in place is never asked to run an operator alone")

    def time_in_place(
        self, model: bytes | str, feeds: Feeds, *, threads: int = 1, budget_s: float = 0.5
    ) -> Sequence[OpTime]:
        self.accounts += 1
        return [
            OpTime(op, 1e6 * self.op_seconds(op.signature, threads) * self.inflation, self.resolution_us)
            for op in self.executed_ops(model, feeds, threads=threads)
        ]
