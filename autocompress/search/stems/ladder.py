"""The least damaging options that together save enough time.

    minimise  sum of cost(damage[o]) over the options taken,   cost(d) = d / (1 - d)
    such that they save at least what is wanted, with at most one option for each group or layer

Damages of single places are added up, as for quantization; but the relative error of an output that has nothing to do
with the original's any more is not far above 1, so that plain sums would rather destroy one layer than touch several.

What widths save is no sum, because a convolution loses inputs and outputs to two groups.  So the price of time, lambda,
is sought by bisection; for each lambda every place in turn takes the option with the least cost - lambda * saved, given
the others' at that moment, until none changes.  That finds points of the convex hull only, so in the end places go back
to milder options as long as enough is saved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from autocompress.search.stems.combined_prices import CombinedPrices
from autocompress.search.stems.knapsack import cheapest
from autocompress.search.stems.options import Option

_MOST_DAMAGE = 0.98
_SWEEPS = 6
_BISECTIONS = 16
_ANY_PRICE = 1e15  # of a millisecond, above every cost
_TIE = 1e-9  # of the cost: of equally good choices the mildest

Layer = tuple[str, str]
Taken = dict[Layer, Option]


def least_damaging(
    options: Sequence[Option], wanted_ms: float, prices: CombinedPrices | None = None
) -> list[Option] | None:
    """The options to take, or None where all together do not save enough.

    Args:
        options: all that there are; those of unknown (infinite) damage are never taken.
        wanted_ms: to be saved.
        prices: of combinations of widths; None adds up what the options save.
    """
    places = _by_place(options)
    if prices is None:
        return _knapsack([option for own in places.values() for option in own], wanted_ms)
    ladder = _Ladder(places, prices)
    highest = _first_enough(ladder, wanted_ms)
    if highest is None:
        return None
    low, high, best = 0.0, highest, ladder.settled(highest)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        taken = ladder.settled(middle)
        if ladder.saved_ms(taken) >= wanted_ms:
            high, best = middle, taken
        else:
            low = middle
    return list(_relaxed(ladder, best, wanted_ms).values())


def cost(damage: float) -> float:
    """What a damage counts in the sum: as much as it is where it is small, far more where it nears 1."""
    bounded = min(damage, _MOST_DAMAGE)
    return bounded / (1.0 - bounded)


def damage_of_cost(value: float) -> float:
    """Inverse of ``cost``."""
    return value / (1.0 + value)


def most_ms(options: Sequence[Option], prices: CombinedPrices | None = None) -> float:
    """What all places together save at most."""
    ladder = _Ladder(_by_place(options), prices)
    return ladder.saved_ms(ladder.settled(_ANY_PRICE))


class _Ladder:
    """Costs and savings of options at all places."""

    def __init__(self, places: Mapping[Layer, Sequence[Option]], prices: CombinedPrices | None) -> None:
        self.places = places
        self._prices = prices

    def settled(self, price: float) -> Taken:
        """What places take when a millisecond is worth ``price``, from the original on."""
        taken: Taken = {}
        for _ in range(_SWEEPS):
            before = dict(taken)
            for layer, own in self.places.items():
                if layer[1] in _gone(taken):
                    taken.pop(layer, None)
                    continue
                value = np.array([cost(option.damage) for option in own]) * (1 + _TIE)
                value = value - price * np.array(self._alone_ms(layer, taken))
                best = int(np.argmin(value))
                taken.pop(layer, None)
                if value[best] < 0.0:
                    taken[layer] = own[best]
            if taken == before:
                break
        return {layer: taken[layer] for layer in self.places if layer in taken}

    def saved_ms(self, taken: Mapping[Layer, Option]) -> float:
        """What options save together."""
        combined = {o.place.name: o.removed for o in taken.values() if self._is_combined(o)}
        added = sum(option.saved_ms for option in taken.values() if not self._is_combined(option))
        return added + (self._prices.total_saved_ms(combined) if self._prices is not None and combined else 0.0)

    def _alone_ms(self, layer: Layer, taken: Mapping[Layer, Option]) -> list[float]:
        """What each option of a place saves, given what the others have taken."""
        own = self.places[layer]
        if self._prices is None or not self._is_combined(own[0]):
            return [option.saved_ms for option in own]
        others = {o.place.name: o.removed for place, o in taken.items() if place != layer and self._is_combined(o)}
        return self._prices.saved_ms(own[0].place.name, [option.removed for option in own], others)

    def _is_combined(self, option: Option) -> bool:
        return self._prices is not None and option.place.follows


def _gone(taken: Mapping[Layer, Option]) -> set[str]:
    """Groups and layers that are within branches that go."""
    return {name for option in taken.values() for name in option.place.within}


def _knapsack(options: Sequence[Option], wanted_ms: float) -> list[Option] | None:
    usable = [option for option in options if option.saved_ms > 0]
    costs, saved_ms = [cost(option.damage) for option in usable], [option.saved_ms for option in usable]
    taken = cheapest(costs, saved_ms, [option.place.layer for option in usable], wanted_ms)
    if taken is None:
        return None
    gone = _gone({usable[i].place.layer: usable[i] for i in taken})
    return [usable[i] for i in taken if usable[i].place.name not in gone]


def _by_place(options: Sequence[Option]) -> dict[Layer, list[Option]]:
    places: dict[Layer, list[Option]] = {}
    for option in options:
        if np.isfinite(option.damage):
            places.setdefault(option.place.layer, []).append(option)
    return places


def _first_enough(ladder: _Ladder, wanted_ms: float) -> float | None:
    """A price of time at which enough is saved; None where there is none."""
    costs = [cost(option.damage) for own in ladder.places.values() for option in own]
    if not costs:
        return None
    price = max(max(costs), 1e-9) / max(wanted_ms, 1e-9) / 64
    for _ in range(24):
        if ladder.saved_ms(ladder.settled(price)) >= wanted_ms:
            return price
        price *= 2
    return None


def _relaxed(ladder: _Ladder, taken: Taken, wanted_ms: float) -> Taken:
    """Goes back to milder options, the largest relief first, while enough is saved."""
    while True:
        best: tuple[float, Taken] | None = None
        for layer, option in taken.items():
            milder = [other for other in ladder.places[layer] if cost(other.damage) < cost(option.damage)]
            for other in [None, *milder]:
                changed = {place: o for place, o in taken.items() if place != layer}
                if other is not None:
                    changed[layer] = other
                relief = cost(option.damage) - (cost(other.damage) if other is not None else 0.0)
                if (best is None or relief > best[0]) and ladder.saved_ms(changed) >= wanted_ms:
                    best = (relief, changed)
        if best is None:
            return taken
        taken = best[1]
