"""One operator's line of a latency table."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autocompress.graph.signature import OpSignature
from autocompress.latency import row as fields

_DIGITS = 4  # finer than any clock is true, and friendly to diffs


@dataclass(frozen=True)
class LatencyRecord:
    """What was observed of one operator.

    Attributes:
        signature: the operator.
        median_us: median of its time.
        minimum_us: its fastest time; what estimates build on, since other work on the machine only ever adds.
        spread_us: median absolute deviation.
        repeats: timed samples.
        invalid_reason: why the times must not be used; None for a valid record.
    """

    signature: OpSignature
    median_us: float
    minimum_us: float
    spread_us: float
    repeats: int
    invalid_reason: str | None = None

    @property
    def valid(self) -> bool:
        """Whether the times may be used."""
        return self.invalid_reason is None

    def to_line(self) -> str:
        """One line of JSON, without the line break."""
        row: dict[str, Any] = {
            "key": self.signature.key,
            "median_us": fields.rounded(self.median_us, _DIGITS),
            "minimum_us": fields.rounded(self.minimum_us, _DIGITS),
            "spread_us": fields.rounded(self.spread_us, _DIGITS),
            "repeats": self.repeats,
            "valid": self.valid,
        }
        if self.invalid_reason is not None:
            row["invalid_reason"] = self.invalid_reason
        row["signature"] = self.signature.to_dict()
        return json.dumps(row, separators=(",", ":"))

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> LatencyRecord:
        """Inverse of ``to_line``.

        Raises:
            ValueError: saying what is wrong with the row.
        """
        valid = fields.flag(row, "valid")
        record = cls(
            signature=_signature(fields.mapping(row, "signature")),
            median_us=fields.number(row, "median_us"),
            minimum_us=fields.number(row, "minimum_us"),
            spread_us=fields.number(row, "spread_us"),
            repeats=fields.count(row, "repeats"),
            invalid_reason=None if valid else fields.text(row, "invalid_reason"),
        )
        if record.signature.key != fields.text(row, "key"):
            raise ValueError(f"its key {row['key']!r} does not belong to its signature")
        record.check()
        return record

    def check(self) -> None:
        """Refuses times that cannot be.

        Raises:
            ValueError: saying which.
        """
        for name in ("median_us", "minimum_us", "spread_us"):
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0:
                raise ValueError(f"{name} is {value}; times are finite and not negative")
        if self.minimum_us > self.median_us:
            raise ValueError(f"minimum_us is {self.minimum_us}, above median_us, which is {self.median_us}")
        if self.valid and (self.minimum_us <= 0 or self.repeats < 1):
            raise ValueError("it counts as valid with a time of zero or no repeats")


def better(first: LatencyRecord, second: LatencyRecord) -> LatencyRecord:
    """Of two records of one operator the valid one, then the faster one, then the first."""
    if first.valid != second.valid:
        return first if first.valid else second
    return second if second.minimum_us < first.minimum_us else first


def _signature(row: Mapping[str, Any]) -> OpSignature:
    try:
        return OpSignature.from_dict(row)
    except KeyError as error:
        raise ValueError(f"its signature has no field {error}") from error
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise ValueError(f"a field of its signature has the wrong type ({error})") from error
