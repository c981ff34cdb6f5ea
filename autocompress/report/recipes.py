"""A recipe in one line: in full, or by what sets it apart from the other recipes of its study."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from autocompress.passes.reconstruct import ReconstructConfig
from autocompress.passes.recover import RecoverConfig
from autocompress.report.settings import setting

ARROW = " \u2192 "

Steps = Sequence[Mapping[str, Any]]
Settings = dict[tuple[str, str], str]


def describe_recipe(steps: Steps) -> str:
    """The steps in order with their settings: "fold -> quantize (activation_dtype uint8, exceptions 3 x fp32)".

    Settings that are off, empty or null are left out; long ones are counted.  Of a training, which has dozens, only
    those are named that differ from its defaults.
    """
    return ARROW.join(describe_steps(steps)) or "unchanged"


def describe_steps(steps: Steps) -> list[str]:
    """One line per step."""
    lines = []
    for step in steps:
        shown = [text for text in _texts(step).values() if text]
        lines.append(f"{_name(step)} ({', '.join(shown)})" if shown else _name(step))
    return lines


class RecipeLabels:
    """Names each recipe of a study by the settings that not all of them share.

    Args:
        recipes: every recipe of the study.
    """

    def __init__(self, recipes: Iterable[Steps]) -> None:
        kept = list(recipes)
        settings = [_flat(steps) for steps in kept]
        seen: dict[tuple[str, str], set[str | None]] = {key: set() for row in settings for key in row}
        for steps, row in zip(kept, settings, strict=True):
            present = set(map(_name, steps))
            for key, texts in seen.items():
                if key[0] in present:  # a step may leave out a setting that has its default
                    texts.add(row.get(key))
        self._names = {ARROW.join(map(_name, steps)) for steps in kept}
        self._varying = {key for key, texts in seen.items() if len(texts) > 1}

    def __call__(self, steps: Steps) -> str:
        """The settings of a recipe that others set differently; the whole recipe when there are none."""
        varying = ", ".join(text for key, text in _flat(steps).items() if key in self._varying and text)
        if not varying:
            return describe_recipe(steps)
        names = f"{ARROW.join(map(_name, steps))}: " if len(self._names) > 1 else ""
        return names + varying


def _flat(steps: Steps) -> Settings:
    """Every setting by its place: (name of the step, key); a recipe has no step twice, and may lack one."""
    return {(_name(step), key): text for step in steps for key, text in _texts(step).items()}


def _name(step: Mapping[str, Any]) -> str:
    return str(step.get("step", "step"))


def _config(step: Mapping[str, Any]) -> Mapping[str, Any]:
    found = step.get("config")
    return found if isinstance(found, Mapping) else {key: value for key, value in step.items() if key != "step"}


def _texts(step: Mapping[str, Any]) -> dict[str, str]:
    """Setting -> its words, "" where there is nothing to say."""
    usual = _USUAL.get(_name(step))
    if usual is None:
        return {key: setting(key, value) for key, value in _config(step).items()}
    return _unusual(_config(step), usual)


def _unusual(config: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, str]:
    """The words of the settings that matter or differ from the usual ones."""
    found = {}
    for key, value in config.items():
        if key == "training" and isinstance(value, Mapping):
            found[key] = f"{key}: {', '.join(_unusual(value, _USUAL['recover']).values())}"
        elif key in _ALWAYS or value != usual.get(key):
            found[key] = setting(key, value) or f"{key} off"
    return found


_ALWAYS = ("level", "method")
_USUAL: Mapping[str, Mapping[str, Any]] = {
    "recover": RecoverConfig().to_dict(),
    "reconstruct": ReconstructConfig().to_dict(),
}
