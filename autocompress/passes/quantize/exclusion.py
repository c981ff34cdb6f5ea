"""Which units should stay in floating point, by what quantizing them does to the model's outputs.

Damages of units add up nearly (to second order in the rounding errors, which are independent of each other), so the
units that together keep the damage within a limit at the least cost are the ones whose damage is large for what their
speed gains.  Taking them in that order is the greedy rule for the fractional knapsack (Dantzig, "Discrete-Variable
Extremum Problems", Operations Research 5(2), 1957), which is within one unit of the best choice.
"""

from __future__ import annotations

from collections.abc import Mapping


def units_to_keep_float(
    damages: Mapping[str, float],
    limit: float,
    *,
    gains: Mapping[str, float] | None = None,
    floor: float = 0.0,
) -> tuple[str, ...]:
    """The units that should stay float, the worst first.

    Units are taken out, most damage for its gain first, until those left do no more damage together than ``limit``.
    One whose damage is not finite is always taken out, and one that does at most ``floor`` never.

    Args:
        damages: unit -> damage of the outputs when it alone is quantized, 0 for none.
        limit: largest damage of all quantized units together.
        gains: unit -> what quantizing it saves, in any unit (ms, say); every unit counts the same without.  A unit that
            gains nothing is taken out before all others.
        floor: damage that is within the noise of its measurement.

    Returns:
        Names in the order in which they were taken out, which depends on nothing but the numbers and names.
    """
    finite = {name: max(damage, 0.0) for name, damage in damages.items() if damage < float("inf")}
    taken = sorted(set(damages) - set(finite))
    left = sum(finite.values())

    def cost(name: str) -> tuple[float, float, str]:
        gain = 1.0 if gains is None else gains.get(name, 0.0)
        ratio = finite[name] / gain if gain > 0.0 else float("inf")
        return -ratio, -finite[name], name

    for name in sorted((name for name in finite if finite[name] > floor), key=cost):
        if left <= limit:
            break
        taken.append(name)
        left -= finite[name]
    return tuple(taken)
