"""What any combination of widths saves, from the shapes of executed operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autocompress.graph.signature import OpSignature
from autocompress.latency.estimator import LatencyEstimator
from autocompress.runtimes.protocol import ExecutedOp
from autocompress.search.stems.shapes import OperatorShapes


class CombinedPrices:
    """Prices operators at the widths of all groups that they depend on, each once.

    Operators are priced alone, so what a smaller model saves by fitting into a cache is not counted.

    Args:
        estimator: prices operators.
        shapes: that were learnt.
    """

    def __init__(self, estimator: LatencyEstimator, shapes: OperatorShapes) -> None:
        self._estimator = estimator
        self._shapes = shapes
        self._known: dict[tuple[int, tuple[int, ...]], float] = {}
        self._by_signature: dict[OpSignature, float] = {}

    def saved_ms(self, group: str, counts: Sequence[int], removed: Mapping[str, int]) -> list[float]:
        """What a group saves by losing units.

        Args:
            group: its name.
            counts: numbers of units that it might lose.
            removed: units that the other groups have lost.

        Returns:
            For each count the milliseconds less than without any loss in this group.
        """
        positions = self._shapes.touched(group)
        states = [{**removed, group: count} for count in (0, *counts)]
        totals = self._totals_ms(positions, states)
        return [totals[0] - total for total in totals[1:]]

    def total_saved_ms(self, removed: Mapping[str, int]) -> float:
        """What all groups together save."""
        positions = sorted({position for group in removed for position in self._shapes.touched(group)})
        before, after = self._totals_ms(positions, [{}, dict(removed)])
        return before - after

    def _totals_ms(self, positions: Sequence[int], states: Sequence[Mapping[str, int]]) -> list[float]:
        wanted = [[(position, self._shapes.key(position, state)) for position in positions] for state in states]
        missing: dict[tuple[int, tuple[int, ...]], OpSignature] = {}
        for keys, state in zip(wanted, states, strict=True):
            for position, key in keys:
                if (position, key) not in self._known and (position, key) not in missing:
                    missing[position, key] = self._shapes.signature(position, state)
        if missing:
            self._price(list(dict.fromkeys(missing.values())))
            self._known.update({place: self._by_signature[signature] for place, signature in missing.items()})
        return [sum(self._known[place] for place in keys) for keys in wanted]

    def _price(self, signatures: Sequence[OpSignature]) -> None:
        """Asks for all that are new at once, as forests answer many questions like one."""
        new = [signature for signature in signatures if signature not in self._by_signature]
        estimates = self._estimator.estimate_many([[ExecutedOp("", signature)] for signature in new])
        # Each has the constant cost of a run in it, which differences do not show.
        self._by_signature.update(zip(new, (e.latency_ms for e in estimates), strict=True))
