"""Budget: the limits that a candidate must keep, derived once from the targets and the measured Baseline."""

from __future__ import annotations

from dataclasses import dataclass

from autocompress.search.counted_size import FILE, Sized, counted_bytes


@dataclass(frozen=True)
class Budget:
    """Limits of a study.

    Attributes:
        accuracy_drop: largest drop allowed, in the metric's own unit.
        latency_ms: largest latency allowed, or None without a latency target.
        size_bytes: largest size allowed, or None without a size target.
        speedup: the speedup that ``latency_ms`` stands for, or None without a latency target.
        size_as: which size that is (see ``counted_size``).
    """

    accuracy_drop: float
    latency_ms: float | None
    size_bytes: float | None
    speedup: float | None
    size_as: str = FILE

    @property
    def has_target(self) -> bool:
        """Whether there is anything to reach beyond the accuracy limit."""
        return self.latency_ms is not None or self.size_bytes is not None

    def counted_bytes(self, sized: Sized) -> int:
        """The size of a model that ``size_bytes`` limits."""
        return counted_bytes(sized, self.size_as)

    def met_by(self, *, drop: float, speedup: float, size_bytes: float) -> bool:
        """Whether measured values keep every limit."""
        return (
            drop <= self.accuracy_drop + 1e-12
            and (self.speedup is None or speedup >= self.speedup)
            and (self.size_bytes is None or size_bytes <= self.size_bytes)
        )

    def constraints(self, *, drop: float, latency_ms: float, size_bytes: float) -> dict[str, float]:
        """Optuna-style constraint values: feasible where every one is <= 0."""
        values = {"accuracy_drop": drop - self.accuracy_drop}
        if self.latency_ms is not None:
            values["latency_ms"] = latency_ms - self.latency_ms
        if self.size_bytes is not None:
            values["size_bytes"] = size_bytes - self.size_bytes
        return values


def make_budget(
    *,
    baseline_latency_ms: float,
    baseline_size_bytes: int,
    max_accuracy_drop: float,
    target_speedup: float | None,
    target_latency_ms: float | None,
    target_size_factor: float | None,
    target_size_bytes: float | None,
    size_as: str = FILE,
) -> Budget:
    """Derives the limits; where two targets say the same thing, the stricter holds.

    Sizes are those that ``size_as`` says, of the baseline as well.
    """
    speedups = []
    if target_speedup is not None:
        speedups.append(target_speedup)
    if target_latency_ms is not None:
        speedups.append(baseline_latency_ms / target_latency_ms)
    sizes = []
    if target_size_factor is not None:
        sizes.append(baseline_size_bytes / target_size_factor)
    if target_size_bytes is not None:
        sizes.append(target_size_bytes)
    speedup = max(speedups) if speedups else None
    return Budget(
        accuracy_drop=max_accuracy_drop,
        latency_ms=None if speedup is None else baseline_latency_ms / speedup,
        size_bytes=min(sizes) if sizes else None,
        speedup=speedup,
        size_as=size_as,
    )
