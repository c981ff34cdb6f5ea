"""How long a stage still takes, and how to write that down."""

from __future__ import annotations


def time_left_s(*, done: int, total: int | None, elapsed_s: float, limit_s: float | None) -> float | None:
    """Seconds until a stage ends: by its rate so far, but never later than its limit; None when nobody can tell.

    Args:
        done: steps done.
        total: steps in all, or None.
        elapsed_s: seconds since the stage began.
        limit_s: seconds after which the stage stops by itself, or None.
    """
    guesses = []
    if total is not None and done > 0:
        guesses.append(elapsed_s / done * max(total - done, 0))
    if limit_s is not None:
        guesses.append(max(limit_s - elapsed_s, 0.0))
    return min(guesses) if guesses else None


def clock(seconds: float) -> str:
    """``75.2`` -> ``"1:15"``, ``3675`` -> ``"1:01:15"``."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
