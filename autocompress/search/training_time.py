"""How many steps a training is given where a clock ends it, and whether it pays in the time that there is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autocompress.passes.recover import RecoverConfig
from autocompress.search.settings import SearchSettings

_STRETCH = 4  # times the steps of "light" where the clock leaves time for them
_LEAST_S = 5.0
_LEAST_PART = 0.1  # of the expected time, below which training does not pay


def training_choices(settings: SearchSettings, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a training's configuration: what was chosen, at the level and seed of a search.

    Under a clock "light" has steps for time that would be left over else; the learning rate follows the clock.

    Args:
        settings: of the search.
        chosen: fields that the user or the caller chose.
    """
    fields = {**chosen, "level": settings.recovery, "seed": settings.seed}
    if is_hurried(settings) and settings.recovery == "light" and not chosen.get("steps"):
        fields["steps"] = _STRETCH * RecoverConfig(level="light").total_steps
    return fields


def is_hurried(settings: SearchSettings) -> bool:
    """Whether a clock may end trainings."""
    return not settings.deterministic and settings.timeout_s is not None


def usual_s(training: RecoverConfig, longest_s: float) -> float:
    """Seconds that the steps of its level take.

    Args:
        training: maybe with more steps.
        longest_s: that all its steps take.
    """
    return longest_s * min(RecoverConfig(level=training.level).total_steps / training.total_steps, 1.0)


def worth_training_s(left_s: float, expected_s: float) -> float:
    """The seconds that a training gets: what is left, or 0 where that is too little.

    Args:
        left_s: seconds left for it.
        expected_s: seconds that it usually takes.
    """
    return left_s if left_s >= max(_LEAST_S, _LEAST_PART * expected_s) else 0.0
