"""Seeds: a ladder of recipes from integer programming over sensitivities and prices.

For a latency limit L:

    minimise    sum over units and options of damage[u, o] x[u, o]
    subject to  sum over options of x[u, o] = 1                         for every unit
                latency of x, with conversions q_t and d_t, <= L
                q_t >= x[c, int8] - x[p, int8]                          for every reader c of tensor t, producer p
                d_t >= x[p, int8] - x[c, int8]   (or >= x[p, int8] where a float node reads t)
                x binary, q_t and d_t in [0, 1]

Damages of single units are added up, which holds for small perturbations (Dong et al., "HAWQ-V2", NeurIPS 2020, and
"A Practical Mixed Precision Algorithm", Pandey et al. 2023 use the same additive form).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from autocompress.passes.quantize import INT8
from autocompress.search.prices import OPTIONS, LatencyPrices

FloatArray = npt.NDArray[np.float64]
_INT8 = OPTIONS.index(INT8)


@dataclass(frozen=True)
class Rung:
    """One rung of the ladder.

    Attributes:
        options: position in ``OPTIONS`` per unit.
        latency_ms: its price.
        damage: its added-up damage.
    """

    options: tuple[int, ...]
    latency_ms: float
    damage: float


class LadderProblem:
    """The integer program of one model; solved once per latency limit."""

    def __init__(self, prices: LatencyPrices, damage: FloatArray) -> None:
        """Stores the problem.

        Args:
            prices: additive latency prices.
            damage: of shape (units, options); inf where a unit has no such option.
        """
        self._prices = prices
        self._damage = damage
        self._units, self._options = damage.shape
        self._allowed = np.isfinite(damage) & np.isfinite(prices.region_us)
        self._build()

    def solve(
        self, latency_limit_ms: float, time_limit_s: float = 5.0, *, size_limit_bytes: float = np.inf
    ) -> Rung | None:
        """The least damaging assignment within the limits, or None where there is none."""
        limit_us = latency_limit_ms * 1e3 / self._prices.scale - self._prices.fixed_us
        if limit_us <= 0:
            return None
        return self._solve(self._objective, limit_us, time_limit_s, size_limit_bytes - self._prices.fixed_bytes)

    def smallest_bytes(self) -> float:
        """Size of the smallest file that any assignment gives; inf where sizes are not known."""
        sizes = self._prices.region_bytes
        if sizes is None:
            return np.inf
        return float(np.where(self._allowed, sizes, np.inf).min(axis=1).sum() + self._prices.fixed_bytes)

    def fastest(self, time_limit_s: float = 5.0) -> Rung:
        """The assignment of least latency."""
        found = self._solve(self._latency_us, np.inf, time_limit_s)
        assert found is not None, "leaving everything in float is always possible"
        return found

    def _solve(
        self, objective: FloatArray, limit_us: float, time_limit_s: float, limit_bytes: float = np.inf
    ) -> Rung | None:
        from scipy.optimize import Bounds, LinearConstraint, milp

        rows = [
            LinearConstraint(self._one_option, 1.0, 1.0),
            LinearConstraint(self._latency_us[None, :], -np.inf, limit_us),
        ]
        if np.isfinite(limit_bytes) and self._prices.region_bytes is not None:
            rows.append(LinearConstraint(self._bytes[None, :], -np.inf, limit_bytes))
        if self._links.shape[0]:
            rows.append(LinearConstraint(self._links, -np.inf, self._link_limits))
        result = milp(
            objective,
            constraints=rows,
            bounds=Bounds(np.zeros(self._size), self._upper),
            integrality=self._integrality,
            options={"mip_rel_gap": 0.0, "time_limit": time_limit_s},
        )
        if result.x is None:
            return None
        chosen = result.x[: self._units * self._options].reshape(self._units, self._options).argmax(axis=1)
        options = tuple(int(o) for o in chosen)
        return Rung(options, self.price_ms(options), float(self._damage[np.arange(self._units), chosen].sum()))

    def price_ms(self, options: Sequence[int]) -> float:
        """Price of one assignment."""
        return float(self._prices.price_ms(np.asarray([options], np.int64))[0])

    def _build(self) -> None:
        from scipy.sparse import csr_matrix, lil_matrix

        prices, boundaries = self._prices, self._prices.boundaries
        n_x, n_t = self._units * self._options, len(boundaries)
        self._size = n_x + 2 * n_t
        finite_damage = np.where(self._allowed, self._damage, 0.0)
        finite_us = np.where(self._allowed, prices.region_us, 0.0)
        scale = max(float(finite_damage.max()), 1e-30)
        quantize = np.array([prices.quantize_us(b) for b in boundaries])
        dequantize = np.array([prices.dequantize_us(b) for b in boundaries])
        self._latency_us = np.concatenate([finite_us.ravel(), quantize, dequantize])
        # The latency term only breaks ties between equally damaging assignments.
        tie = 1e-6 * self._latency_us / max(float(self._latency_us.max()), 1e-9)
        # Scaled up, because the solver takes differences below its tolerance for none.
        self._objective = 1e3 * (np.concatenate([finite_damage.ravel() / scale, np.zeros(2 * n_t)]) + tie)
        self._upper = np.concatenate([self._allowed.ravel().astype(float), np.ones(2 * n_t)])
        self._integrality = np.concatenate([np.ones(n_x), np.zeros(2 * n_t)])
        sizes = prices.region_bytes
        self._bytes = np.zeros(self._size)
        if sizes is not None:
            self._bytes[:n_x] = np.where(self._allowed, sizes, 0.0).ravel()
        one = lil_matrix((self._units, self._size))
        for u in range(self._units):
            one[u, u * self._options : (u + 1) * self._options] = 1.0
        self._one_option = csr_matrix(one)
        self._links, self._link_limits = self._conversion_links(n_x, n_t)

    def _conversion_links(self, n_x: int, n_t: int) -> tuple[Any, FloatArray]:
        from scipy.sparse import coo_matrix, csr_matrix

        rows: list[int] = []
        columns: list[int] = []
        values: list[float] = []
        count = 0

        def add(*terms: tuple[int, float]) -> None:
            nonlocal count
            for column, value in terms:
                rows.append(count)
                columns.append(column)
                values.append(value)
            count += 1

        for t, boundary in enumerate(self._prices.boundaries):
            q, d = n_x + t, n_x + n_t + t
            produced = None if boundary.producer < 0 else boundary.producer * self._options + _INT8
            for consumer in boundary.consumers:
                reader = consumer * self._options + _INT8
                add((reader, 1.0), (q, -1.0), *([] if produced is None else [(produced, -1.0)]))
                if produced is not None:
                    add((produced, 1.0), (reader, -1.0), (d, -1.0))
            if boundary.float_reader and produced is not None:
                add((produced, 1.0), (d, -1.0))
        links = coo_matrix((values, (rows, columns)), shape=(count, self._size))
        return csr_matrix(links), np.zeros(count)


def ladder(problem: LadderProblem, fastest_ms: float, slowest_ms: float, rungs: int) -> list[Rung]:
    """Distinct assignments for latency limits from fast to slow, spaced evenly in speed.

    Args:
        problem: the integer program.
        fastest_ms: price of the fastest assignment wanted.
        slowest_ms: price of the slowest assignment wanted.
        rungs: how many limits to try.
    """
    limits = 1.0 / np.linspace(1.0 / fastest_ms, 1.0 / slowest_ms, rungs)
    found: dict[tuple[int, ...], Rung] = {}
    for limit in limits:
        rung = problem.solve(float(limit) * (1 + 1e-9))
        if rung is not None:
            found.setdefault(rung.options, rung)
    return list(found.values())
