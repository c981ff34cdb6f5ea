"""Which things to take so that they save enough and cost the least, with at most one at each place.

minimise    sum of cost[i] x[i]
subject to  sum of saved[i] x[i] >= wanted
            sum of x[i] over the things at one place <= 1,   x binary
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

_TIE = 1e-6  # of the largest cost: of equally cheap answers the one with the fewest things


def cheapest(
    costs: Sequence[float],
    saved: Sequence[float],
    places: Sequence[Hashable],
    wanted: float,
    time_limit_s: float = 5.0,
) -> list[int] | None:
    """Positions of the things to take, or None where all together do not save enough.

    Args:
        costs: finite, at least 0.
        saved: by each thing.
        places: of each thing.
        wanted: to be saved, in the unit of ``saved``.
        time_limit_s: for the solver.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    if not costs:
        return None
    cost = np.asarray(costs, np.float64)
    once = np.array([[float(own == place) for own in places] for place in dict.fromkeys(places)])
    # In parts of what is wanted, so that the solver's tolerance means the same in every unit.
    unit = wanted if wanted > 0 else 1.0
    result = milp(
        cost / max(float(cost.max()), 1e-30) + _TIE,
        constraints=[
            LinearConstraint(np.asarray(saved, np.float64)[None, :] / unit, wanted / unit, np.inf),
            LinearConstraint(once, -np.inf, 1.0),
        ],
        bounds=Bounds(0.0, 1.0),
        integrality=np.ones(len(cost)),
        options={"mip_rel_gap": 0.0, "time_limit": time_limit_s},
    )
    return None if result.x is None else [i for i, taken in enumerate(result.x) if taken > 0.5]
