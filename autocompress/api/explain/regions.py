"""What int8 saves region by region: the time of its operators in both forms, with the conversions that it brings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from autocompress.api.explain.executed import CONVERSION, INTEGERS, KERNEL, LAYOUT, PricedGraph, PricedOp, converted
from autocompress.search.attribution import attribute_ops
from autocompress.search.regions import Region

PARTS = (KERNEL, "rest", CONVERSION, LAYOUT)


@dataclass
class RegionTime:
    """The operators of one region in one form.

    Attributes:
        ops: its operators, conversions and reorders among them.
        us: part ("kernel", "rest", "conversion", "layout") -> microseconds.
    """

    ops: list[PricedOp] = field(default_factory=list)
    us: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))

    @property
    def total_us(self) -> float:
        """All parts together."""
        return sum(self.us.values())

    def part(self, name: str) -> list[PricedOp]:
        """The operators of one part."""
        return [op for op in self.ops if part_of(op) == name]

    def add(self, op: PricedOp) -> None:
        """Counts an operator in."""
        self.ops.append(op)
        self.us[part_of(op)] += op.price.latency_us


@dataclass(frozen=True)
class SplitTime:
    """A graph's time by region.

    Attributes:
        regions: in the order of the regions.
        outside: what no region owns.
    """

    regions: tuple[RegionTime, ...]
    outside: RegionTime


def part_of(op: PricedOp) -> str:
    """Which of ``PARTS`` an operator counts to."""
    return op.role if op.role in PARTS else "rest"


def split_time(graph: PricedGraph, regions: Sequence[Region]) -> SplitTime:
    """Gives each operator to the region it stands for.

    A conversion to integers belongs to the region that reads them, one to floats to the region that gave the integers,
    and a reorder that the runtime put in to the nearest region before it, else after it.
    """
    units = [unit for region in regions for unit in region.units]
    home = [i for i, region in enumerate(regions) for _ in region.units]
    owners = attribute_ops([op.op for op in graph.ops], units)
    owned = {op.position: home[unit] for op, unit in zip(graph.ops, owners, strict=True) if unit is not None}
    split = SplitTime(tuple(RegionTime() for _ in regions), RegionTime())
    for op in graph.ops:
        owner = owned.get(op.position)
        if owner is None and op.role in (CONVERSION, LAYOUT):
            owner = _nearest(op, graph, owned)
        (split.outside if owner is None else split.regions[owner]).add(op)
    return split


def _nearest(op: PricedOp, graph: PricedGraph, owned: dict[int, int]) -> int | None:
    before, after = graph.before(op), graph.after(op)
    source = converted(op.signature)
    to_integers = op.role == CONVERSION and source is not None and source.dtype not in INTEGERS
    ways: tuple[Iterable[PricedOp], ...] = (after,) if to_integers else (before, after)
    return next((owned[o.position] for way in ways for o in way if o.position in owned), None)
