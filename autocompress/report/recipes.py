"""A recipe in one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

ARROW = " \u2192 "


def describe_recipe(steps: Sequence[Mapping[str, Any]]) -> str:
    """The steps in order with their settings: "fold -> quantize (activation_dtype uint8, exceptions 3 x fp32)".

    Settings that are off, empty or null are left out; long ones are counted.
    """
    return ARROW.join(describe_steps(steps)) or "unchanged"


def describe_steps(steps: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line per step."""
    return [_step(step) for step in steps]


def _step(step: Mapping[str, Any]) -> str:
    config = step.get("config", {key: value for key, value in step.items() if key != "step"})
    settings = [text for key, value in config.items() if (text := _setting(key, value))]
    name = str(step.get("step", "step"))
    return f"{name} ({', '.join(settings)})" if settings else name


def _setting(key: str, value: Any) -> str:
    if value is None or value is False or value in ("", [], {}):
        return ""
    if value is True:
        return key
    if isinstance(value, Mapping):
        return f"{key} {_counted(list(value.values()))}"
    if isinstance(value, list):
        return f"{key} {_counted(value)}"
    return f"{key} {value}"


def _counted(values: Sequence[Any]) -> str:
    if any(isinstance(value, (Mapping, list)) for value in values):
        return f"of {len(values)}"
    return " + ".join(f"{number} \u00d7 {value}" for value, number in sorted(Counter(map(str, values)).items()))
