"""What a reshape does to axes: which ones it keeps, splits and merges."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from autocompress.graph.channels.axis import Axis, product
from autocompress.graph.channels.scope import Axes, Scope
from autocompress.graph.specs import Size

Block = tuple[list[int], list[int]]
"""Positions of neighbouring axes before and after that hold the same elements."""


def regrouped(scope: Scope, axes: Axes, before: Sequence[Size], after: Sequence[Size], label: str) -> Axes:
    """The axes after a reshape that keeps the order of elements.

    Args:
        scope: of the walk.
        axes: before.
        before: sizes as far as known; equal symbols mean equal sizes.
        after: sizes of the result, likewise.
        label: how reasons call the operator.
    """
    result: list[Axis | None] = [Axis.plain(size) if isinstance(size, int) else None for size in after]
    blocks, (source, target) = aligned(before, after)
    solved = _solved([before[i] for i in source], [after[i] for i in target])
    if solved is not None:
        for i, size in zip(target, solved, strict=True):
            result[i] = Axis.plain(size)
        blocks.append((source, target))
        source = []
    for own, others in blocks:
        _fill(scope, axes, own, others, result, label)
    for i in source:
        scope.fix(axes[i], f"{label} reshapes it, and too little is known about the sizes")
    return tuple(result)


def aligned(before: Sequence[Size], after: Sequence[Size]) -> tuple[list[Block], Block]:
    """The smallest blocks of axes that hold the same elements, and the axes that are in none.

    Axes of size 1 are in no block.
    """
    source = [i for i, size in enumerate(before) if size != 1]
    target = [i for i, size in enumerate(after) if size != 1]
    blocks = []
    for step in (-1, 1):  # what stands at the end is the same whatever stands in front of it, and the other way round
        while source and target:
            counts = _block([before[i] for i in source[::step]], [after[i] for i in target[::step]])
            if counts is None:
                break
            one, other = counts
            blocks.append((sorted(source[::step][:one]), sorted(target[::step][:other])))
            source, target = sorted(source[::step][one:]), sorted(target[::step][other:])
    return blocks, (source, target)


def _solved(before: Sequence[Size], after: Sequence[Size]) -> list[int] | None:
    """The sizes after, of which one is unknown, that hold what all known ones before hold; None where not so."""
    elements = prod(size for size in before if isinstance(size, int))
    known = prod(size for size in after if isinstance(size, int))
    open_sizes = [size for size in after if not isinstance(size, int)]
    if not all(isinstance(size, int) for size in before) or len(open_sizes) != 1 or known == 0 or elements % known:
        return None
    return [size if isinstance(size, int) else elements // known for size in after]


def _block(before: Sequence[Size], after: Sequence[Size]) -> tuple[int, int] | None:
    """How many of the first sizes on both sides have the same product."""
    if before[0] is not None and before[0] == after[0]:
        return 1, 1
    i = j = 0
    first = other = 1
    while True:
        if first <= other and i < len(before):
            size, i = before[i], i + 1
            first = first * size if isinstance(size, int) else 0
        elif j < len(after):
            size, j = after[j], j + 1
            other = other * size if isinstance(size, int) else 0
        else:
            return None
        if 0 in (first, other):
            return None
        if first == other:
            return i, j


def common_factors(before: Sequence[int], after: Sequence[int]) -> list[int] | None:
    """The coarsest factors of which the sizes on both sides are products of neighbours; None where there are none."""
    points = sorted({prod(sizes[i:]) for sizes in (list(before), list(after)) for i in range(len(sizes) + 1)})
    if any(large % small for small, large in pairwise(points)):
        return None
    return [large // small for small, large in pairwise(points)][::-1]


def _fill(
    scope: Scope, axes: Axes, source: list[int], target: list[int], result: list[Axis | None], label: str
) -> None:
    given = [axes[i] for i in source]
    if len(source) == len(target) == 1:
        result[target[0]] = given[0]
        return
    known = [axis for axis in given if axis is not None]
    if all(axis.is_plain for axis in known):
        return
    sizes = [axis.size for axis in known]
    wanted = [own.size for own in (result[i] for i in target) if own is not None]
    factors = common_factors(sizes, wanted)
    if factors is None:
        for axis in known:
            scope.fix(axis, f"{label} regroups it unevenly")
        return
    parts: list[Axis] = []
    for axis, own in zip(known, _runs(factors, sizes), strict=True):
        parts.extend(scope.split(axis, own))
    start = 0
    for i, own in zip(target, _runs(factors, wanted), strict=True):
        result[i] = product(parts[start : start + len(own)])
        start += len(own)


def _runs(factors: Sequence[int], sizes: Sequence[int]) -> list[list[int]]:
    """The neighbouring factors that make each size."""
    runs, rest = [], list(factors)
    for size in sizes:
        run: list[int] = []
        while prod(run) < size:
            run.append(rest.pop(0))
        runs.append(run)
    return runs
