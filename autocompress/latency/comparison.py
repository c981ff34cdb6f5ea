"""How the times of two tables differ, operator by operator and family by family.

Two tables of different devices, runtimes or thread counts can be compared as well: operators are the same where their
signatures agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from autocompress.latency.families import family_of
from autocompress.latency.header import TableHeader
from autocompress.latency.record import LatencyRecord
from autocompress.latency.table import LatencyTable


@dataclass(frozen=True)
class Pair:
    """One operator in both tables, valid in both.

    Attributes:
        a: its record in the first.
        b: its record in the second.
    """

    a: LatencyRecord
    b: LatencyRecord

    @property
    def ratio(self) -> float:
        """Time in the second table over time in the first."""
        return self.b.minimum_us / self.a.minimum_us


@dataclass(frozen=True)
class RatioSummary:
    """Ratios of times, second table over first.

    Attributes:
        name: of the family; "" for all.
        operators: how many.
        median: of the ratios, as are the quantiles.
        quantile10: a tenth of the ratios are below it.
        quantile90: a tenth of the ratios are above it.
        total: ratio of the summed times.
    """

    name: str
    operators: int
    median: float
    quantile10: float
    quantile90: float
    total: float


@dataclass(frozen=True)
class Comparison:
    """What two tables have in common and what not.

    Attributes:
        header: fields that differ, with both values.
        only_a: records of operators that only the first table has.
        only_b: records of operators that only the second table has.
        pairs: operators that are valid in both, the largest differences first.
        unusable: operators that both have, at least one of them without a valid time.
        families: by name of the family.
        overall: None where the tables have no valid operator in common.
        models: ratio of the times of whole models that both have; None where there are none.
    """

    header: tuple[tuple[str, object, object], ...]
    only_a: tuple[LatencyRecord, ...]
    only_b: tuple[LatencyRecord, ...]
    pairs: tuple[Pair, ...]
    unusable: int
    families: tuple[RatioSummary, ...]
    overall: RatioSummary | None
    models: RatioSummary | None


def compare(a: LatencyTable, b: LatencyTable) -> Comparison:
    """Compares the fastest times of each operator."""
    common = [(record, other) for record in a if (other := b.record(record.signature)) is not None]
    pairs = [Pair(record, other) for record, other in common if record.valid and other.valid]
    by_family: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_family.setdefault(family_of(pair.a.signature), []).append(pair)
    return Comparison(
        header=tuple(_different_fields(a.header, b.header)),
        only_a=tuple(record for record in a if record.signature not in b),
        only_b=tuple(record for record in b if record.signature not in a),
        pairs=tuple(sorted(pairs, key=lambda pair: (-abs(np.log(pair.ratio)), pair.a.signature.key))),
        unusable=len(common) - len(pairs),
        families=tuple(_summary(family, _times(by_family[family])) for family in sorted(by_family)),
        overall=_summary("", _times(pairs)) if pairs else None,
        models=_models(a, b),
    )


def _different_fields(a: TableHeader, b: TableHeader) -> Iterable[tuple[str, object, object]]:
    fields: list[tuple[str, object, object]] = [
        ("device", a.device.fingerprint, b.device.fingerprint),
        ("device name", a.device.name, b.device.name),
        ("cores", a.device.cores, b.device.cores),
        *((name, getattr(a, name), getattr(b, name)) for name in ("runtime", "runtime_version", "threads")),
        *((name, getattr(a, name), getattr(b, name)) for name in ("clock", "method", "date", "command")),
        *((name, a.constants.get(name), b.constants.get(name)) for name in sorted({*a.constants, *b.constants})),
    ]
    return ((name.replace("_", " "), ours, theirs) for name, ours, theirs in fields if ours != theirs)


def _times(pairs: Sequence[Pair]) -> list[tuple[float, float]]:
    return [(pair.a.minimum_us, pair.b.minimum_us) for pair in pairs]


def _models(a: LatencyTable, b: LatencyTable) -> RatioSummary | None:
    times = [(a.models[name].latency_us, b.models[name].latency_us) for name in sorted({*a.models} & {*b.models})]
    return _summary("whole models", times) if times else None


def _summary(name: str, times_us: Sequence[tuple[float, float]]) -> RatioSummary:
    values = np.asarray(times_us, np.float64)
    low, median, high = np.quantile(values[:, 1] / values[:, 0], [0.1, 0.5, 0.9])
    total_a, total_b = values.sum(axis=0)
    return RatioSummary(name, len(values), float(median), float(low), float(high), float(total_b / total_a))
