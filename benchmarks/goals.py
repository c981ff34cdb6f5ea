"""What is asked of each model, from a file: ``ptq_goals.yaml`` or ``structural_goals.yaml``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Goal:
    """Goal of one model.

    Attributes:
        max_accuracy_drop: in the unit of its metric.
        speedup: against the original, 1 thread; None asks for as much as the drop allows.
    """

    max_accuracy_drop: float
    speedup: float | None = None


def read_goals(file: Path) -> dict[str, Goal]:
    """Model name -> goal.

    Raises:
        ValueError: when an entry has another form.
    """
    import yaml

    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    try:
        return {name: Goal(**entry) for name, entry in content.items()}
    except (AttributeError, TypeError) as error:
        raise ValueError(f"{file}: every model needs max_accuracy_drop and may have speedup ({error})") from error


def goal_for(name: str, goals: dict[str, Goal], usual_drop: float) -> Goal:
    """The goal of one model; where none is written down, twice the speed within the usual drop."""
    return goals.get(name, Goal(usual_drop, 2.0))
