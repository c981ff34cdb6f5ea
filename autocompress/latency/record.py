"""One line of a latency table."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autocompress.graph.signature import OpSignature


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
            "median_us": _rounded(self.median_us),
            "minimum_us": _rounded(self.minimum_us),
            "spread_us": _rounded(self.spread_us),
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
        try:
            record = cls(
                signature=OpSignature.from_dict(row["signature"]),
                median_us=float(row["median_us"]),
                minimum_us=float(row["minimum_us"]),
                spread_us=float(row["spread_us"]),
                repeats=int(row["repeats"]),
                invalid_reason=None if row["valid"] else str(row.get("invalid_reason", "not stated")),
            )
        except KeyError as error:
            raise ValueError(f"it has no field {error}") from error
        except (TypeError, IndexError) as error:
            raise ValueError(f"a field has the wrong type ({error})") from error
        if record.signature.key != row["key"]:
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
        if self.valid and (self.minimum_us <= 0 or self.repeats < 1):
            raise ValueError("it counts as valid with a time of zero or no repeats")


def _rounded(value: float) -> float:
    """Four significant digits: finer than any clock is true, and friendly to diffs."""
    return float(f"{value:.4g}")
