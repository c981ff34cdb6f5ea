"""What a search is told: its space, limits and stops."""

from __future__ import annotations

from dataclasses import dataclass

from autocompress.search.counted_size import FILE
from autocompress.search.space import SearchSpace

TIMING, COMMAND, ESTIMATE = "timing", "command", "estimate"


@dataclass(frozen=True)
class SearchSettings:
    """Settings of one search.

    Attributes:
        space: the choices.
        max_accuracy_drop: in the metric's own unit.
        target_speedup: factor, or None.
        target_latency_ms: milliseconds, or None.
        target_size_factor: how many times smaller, or None.
        target_size_bytes: bytes, or None.
        trials: how many candidates to evaluate at most, or None.
        timeout_s: wall-clock limit of the whole search, or None.
        seed: of everything random.
        deterministic: measured latencies never steer.
        workers: candidates evaluated at the same time.
        verified_by: where the latency of finalists comes from: "timing" on this machine, "command" of the user, or
            "estimate" for a device that nobody reaches.
        profiles: whether operators that no table knows are timed on this machine.
        recovery: how smaller float models are trained: "none" (only the closed form), "light" or "full".
        longest_task_s: after which a task of a worker is taken to hang.
        size_as: which size counts: "file" or "deflate".
    """

    space: SearchSpace
    max_accuracy_drop: float
    target_speedup: float | None = None
    target_latency_ms: float | None = None
    target_size_factor: float | None = None
    target_size_bytes: float | None = None
    trials: int | None = None
    timeout_s: float | None = 600.0
    seed: int = 0
    deterministic: bool = False
    workers: int = 1
    verified_by: str = TIMING
    profiles: bool = True
    recovery: str = "none"
    longest_task_s: float = 600.0
    size_as: str = FILE

    @property
    def steered_by_estimates(self) -> bool:
        """Whether no latency that is measured during the search steers it."""
        return self.deterministic or self.verified_by != TIMING
