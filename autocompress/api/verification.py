"""Who times the finalists of a run: this machine, a command of the user, or nobody."""

from __future__ import annotations

from pathlib import Path

from autocompress.api.latency_model import LatencyModel
from autocompress.config import RunConfig
from autocompress.progress import Progress
from autocompress.runtimes.timing_command import TimingCommand
from autocompress.search.command import CommandTiming
from autocompress.search.settings import COMMAND, ESTIMATE, TIMING


def parsed_command(config: RunConfig) -> TimingCommand | None:
    """The command that the user gave, if any.

    Raises:
        ConfigError: when it cannot be read.
    """
    if config.verify_command is None:
        return None
    return TimingCommand.parse(config.verify_command, config.verify_timeout_s)


def tried_command(command: TimingCommand | None, baseline: Path, progress: Progress) -> CommandTiming | None:
    """The command, once it has timed the original model.

    Args:
        command: from ``parsed_command``.
        baseline: file of the original model.
        progress: what the person watching sees; a call may take long.

    Raises:
        ConfigError: when it gives no usable latency.
    """
    if command is None:
        return None
    progress.stage("try the verify command on the original model")
    return CommandTiming.tried(command, baseline)


def verified_by(config: RunConfig, latency: LatencyModel) -> str:
    """Where the latency of finalists comes from (see ``SearchSettings``)."""
    if config.verify_command is not None:
        return COMMAND
    return ESTIMATE if latency.elsewhere else TIMING


def about_verification(config: RunConfig, latency: LatencyModel) -> list[str]:
    """What a person should know about it, in sentences; nothing where finalists are simply timed here."""
    if config.verify_command is not None and latency.elsewhere:
        return ["original and finalists are timed by the verify command; estimates steer the search"]
    if config.verify_command is not None:
        return [
            "original and finalists are timed by the verify command; estimates for this device steer the search: give "
            "--latency-table of the device that the command measures, if that is another"
        ]
    if latency.elsewhere:
        name = latency.header.device.name
        return [f"the speed of finalists is estimated, not verified: give --verify-command to time them on {name}"]
    return []
