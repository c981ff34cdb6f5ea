"""The least damaging options that together save enough time: a knapsack, solved as an integer program.

    minimise    sum of cost(damage[o]) x[o],   cost(d) = d / (1 - d)
    subject to  sum of saved_ms[o] x[o] >= wanted
                sum of x[o] over the options of one group or layer <= 1,   x binary

Damages of single places are added up, as for quantization; but the relative error of an output that has nothing to do
with the original's any more is not far above 1, so that plain sums would rather destroy one layer than touch several.
Savings are not additive (a convolution loses inputs and
outputs to two groups), so whoever asks prices what comes out and asks again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autocompress.search.stems.options import Option

_MOST_DAMAGE = 0.98


def least_damaging(options: Sequence[Option], wanted_ms: float, time_limit_s: float = 5.0) -> list[Option] | None:
    """The options to take, or None where all together do not save enough.

    Args:
        options: all that there are; those of unknown (infinite) damage are never taken.
        wanted_ms: to be saved.
        time_limit_s: for the solver.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    usable = [option for option in options if np.isfinite(option.damage) and option.saved_ms > 0]
    if not usable:
        return None
    damage = np.array([cost(option.damage) for option in usable])
    saved = np.array([option.saved_ms for option in usable])
    places = sorted({option.place.layer for option in usable})
    once = np.array([[float(option.place.layer == place) for option in usable] for place in places])
    scale = max(float(damage.max()), 1e-30)
    result = milp(
        # The number of places breaks ties.
        damage / scale + 1e-6,
        constraints=[LinearConstraint(saved[None, :], wanted_ms, np.inf), LinearConstraint(once, -np.inf, 1.0)],
        bounds=Bounds(0.0, 1.0),
        integrality=np.ones(len(usable)),
        options={"mip_rel_gap": 0.0, "time_limit": time_limit_s},
    )
    if result.x is None:
        return None
    return [option for option, taken in zip(usable, result.x, strict=True) if taken > 0.5]


def cost(damage: float) -> float:
    """What a damage counts in the sum: as much as it is where it is small, far more where it nears 1."""
    bounded = min(damage, _MOST_DAMAGE)
    return bounded / (1.0 - bounded)


def most_ms(options: Sequence[Option]) -> float:
    """What all places together save at most, by the same sum."""
    saved: dict[tuple[str, str], float] = {}
    for option in options:
        if np.isfinite(option.damage):
            saved[option.place.layer] = max(saved.get(option.place.layer, 0.0), option.saved_ms)
    return sum(saved.values())
