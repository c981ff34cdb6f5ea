"""Regions: the units whose precision the search chooses together.

An operator without weights that reads nothing but one region's results (the Sigmoid and Mul of a SiLU, a pooling)
belongs to that region: to convert in between would only cost.  What joins two regions (a residual Add, a Concat) stands
alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autocompress.passes.quantize import FP32, INT8, Unit


@dataclass(frozen=True)
class Region:
    """Units that share one choice.

    Attributes:
        units: its units, the main one first, in graph order.
    """

    units: tuple[Unit, ...]

    @property
    def main(self) -> Unit:
        """The unit that it is named after and that decides its options."""
        return self.units[0]

    @property
    def name(self) -> str:
        """Name of its main unit."""
        return self.main.name

    @property
    def op_type(self) -> str:
        """Type of its main unit."""
        return self.main.op_type

    @property
    def options(self) -> tuple[str, ...]:
        """Precisions it can have, FP32 first."""
        return self.main.all_options

    @property
    def outputs(self) -> frozenset[str]:
        """Tensors that its units produce."""
        return frozenset(unit.output for unit in self.units)

    def precisions(self, option: str) -> dict[str, str]:
        """Precision of each unit under one choice for the region: only the main unit can be dynamic."""
        rest = INT8 if option == INT8 else FP32
        return {self.main.name: option, **{unit.name: rest for unit in self.units[1:]}}


def find_regions(units: Sequence[Unit]) -> tuple[Region, ...]:
    """Groups units into regions, in graph order of their main units."""
    members: list[list[Unit]] = []
    producer: dict[str, int] = {}
    for unit in units:
        sources = {producer.get(name, -1) for name in unit.inputs}
        if unit.weight is None and len(sources) == 1 and -1 not in sources:
            home = sources.pop()
            members[home].append(unit)
        else:
            home = len(members)
            members.append([unit])
        if not unit.is_table:  # rows that were picked are float, whatever the table is stored as
            producer[unit.output] = home
    return tuple(Region(tuple(group)) for group in members)
