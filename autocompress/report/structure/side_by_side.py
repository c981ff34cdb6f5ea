"""Layers of two forms of a model side by side, by name: parts of a decomposed layer under the layer's name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from autocompress.report.structure.done import what_was_done
from autocompress.report.structure.facts import LayerFacts

# A decomposed layer keeps its name for its last part; the others are called after it.
_PART = "_decompose_"


@dataclass(frozen=True)
class LayerPair:
    """One layer before and after.

    Attributes:
        name: of the layer.
        before: None where the original has no such layer.
        after: its parts in graph order, one unless it was decomposed; () where nothing is left of it.
        done: what was done to it, in words; () where it is as it was.
    """

    name: str
    before: LayerFacts | None
    after: tuple[LayerFacts, ...]
    done: tuple[str, ...]

    @property
    def macs(self) -> tuple[int | None, int | None]:
        """Multiply-adds before and after."""
        return None if self.before is None else self.before.macs, _sum([part.macs for part in self.after])

    @property
    def parameters(self) -> tuple[int | None, int]:
        """Parameters before and after."""
        before = None if self.before is None else self.before.parameters
        return before, sum(part.parameters for part in self.after)

    @property
    def elements(self) -> int:
        """Numbers in the weights after."""
        return sum(part.elements for part in self.after)

    @property
    def nonzero(self) -> int:
        """Those of them that are not zero."""
        return sum(part.nonzero for part in self.after)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, sums included."""
        (macs_before, macs_after), (parameters_before, parameters_after) = self.macs, self.parameters
        elements = self.elements
        return {
            "name": self.name,
            "op_type": (self.before or self.after[0]).op_type,
            "done": list(self.done),
            "macs_before": macs_before,
            "macs_after": macs_after,
            "parameters_before": parameters_before,
            "parameters_after": parameters_after,
            "nonzero": self.nonzero,
            "sparsity": 1.0 - self.nonzero / elements if elements else 0.0,
            "before": None if self.before is None else asdict(self.before),
            "after": [asdict(part) for part in self.after],
        }


def side_by_side(before: Sequence[LayerFacts], after: Sequence[LayerFacts]) -> tuple[LayerPair, ...]:
    """Pairs the layers of an original with those of what was made of it.

    Args:
        before: layers of the original, normalized.
        after: layers of the compressed model.

    Returns:
        In the order of the original; layers that it does not have come last.
    """
    known = {layer.name: layer for layer in before}
    parts: dict[str, list[LayerFacts]] = {name: [] for name in known}
    for layer in after:
        origin = layer.name.split(_PART)[0]
        name = layer.name if layer.name in known or origin not in known else origin
        parts.setdefault(name, []).append(layer)
    return tuple(
        LayerPair(name, known.get(name), tuple(found), what_was_done(known.get(name), found))
        for name, found in parts.items()
    )


def _sum(values: Sequence[int | None]) -> int | None:
    return None if None in values else sum(value for value in values if value is not None)
