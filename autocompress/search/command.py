"""Finalists timed by a command of the user, on whatever device it reaches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autocompress.errors import CandidateFailed, ConfigError, RuntimeFailure
from autocompress.measurement import MeasuredLatency, MeasuredSpeedup
from autocompress.runtimes.timing_command import TimingCommand, time_in_turns


@dataclass(frozen=True)
class CommandTiming:
    """A command that works, and what it says of the baseline.

    Attributes:
        command: times one model file.
        baseline_path: the uncompressed model.
        baseline: its latency, by the command.
    """

    command: TimingCommand
    baseline_path: Path
    baseline: MeasuredLatency

    @classmethod
    def tried(cls, command: TimingCommand, baseline_path: Path) -> CommandTiming:
        """Tries the command on the baseline, so that a wrong one is refused before anything is searched.

        Raises:
            ConfigError: when it gives no usable latency.
        """
        try:
            return cls(command, baseline_path, command.time(baseline_path))
        except RuntimeFailure as error:
            raise ConfigError(str(error)) from error

    def speedup(self, candidate: Path, *, until: float | None = None) -> MeasuredSpeedup:
        """Times a finalist and the baseline in turns.

        Args:
            candidate: the finalist's file.
            until: moment of ``time.monotonic()`` after which no further round begins; None for no limit.

        Raises:
            CandidateFailed: when the command fails on either.
        """
        try:
            return time_in_turns(self.command, self.baseline_path, candidate, until=until)
        except RuntimeFailure as error:
            raise CandidateFailed(str(error)) from error
