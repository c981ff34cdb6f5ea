"""What a search is told: its space, limits and stops."""

from __future__ import annotations

from dataclasses import dataclass

from autocompress.search.space import SearchSpace


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
