"""How long work tells whoever watches it how far it is; the work itself never prints."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """What a search, a profile or a calibration reports while it runs."""

    def stage(self, name: str, total: int | None = None, limit_s: float | None = None) -> None:
        """Begins a stage and ends the one before it.

        Args:
            name: what is being done, in a few words ("search", "profile operators").
            total: how many steps it has, or None where nobody knows.
            limit_s: seconds after which the stage stops by itself, or None.
        """
        ...

    def advance(self, n: int = 1) -> None:
        """Counts ``n`` more steps of the current stage as done."""
        ...

    def detail(self, text: str) -> None:
        """Replaces a few words that are shown beside the counts of the current stage ("5.2 per second")."""
        ...

    def best(self, text: str) -> None:
        """Replaces the one-line description of the best result so far ("2.31x, drop 0.004")."""
        ...

    def notice(self, text: str) -> None:
        """Says one sentence that must not be lost: a warning, a decision, a place on disk."""
        ...


class StagesOnly:
    """Shows how far work is and keeps its notices back, for work whose notices are shown later.

    Args:
        progress: what the person watching sees.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def stage(self, name: str, total: int | None = None, limit_s: float | None = None) -> None:
        """Begins a stage."""
        self._progress.stage(name, total, limit_s)

    def advance(self, n: int = 1) -> None:
        """Counts steps."""
        self._progress.advance(n)

    def detail(self, text: str) -> None:
        """Shows a few words."""
        self._progress.detail(text)

    def best(self, text: str) -> None:
        """Shows the best so far."""
        self._progress.best(text)

    def notice(self, text: str) -> None:
        """Does nothing."""


class NullProgress:
    """Watches nothing: for tests, for libraries that call the api, for ``--quiet``."""

    def stage(self, name: str, total: int | None = None, limit_s: float | None = None) -> None:
        """Does nothing."""

    def advance(self, n: int = 1) -> None:
        """Does nothing."""

    def detail(self, text: str) -> None:
        """Does nothing."""

    def best(self, text: str) -> None:
        """Does nothing."""

    def notice(self, text: str) -> None:
        """Does nothing."""
