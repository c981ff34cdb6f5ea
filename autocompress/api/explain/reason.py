"""One reason."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reason:
    """One thing to know about an operator or a region.

    Attributes:
        code: what kind of reason, for programs.
        text: the reason in words.
    """

    code: str
    text: str

    def to_dict(self) -> dict[str, str]:
        """JSON-ready form."""
        return {"code": self.code, "text": self.text}
