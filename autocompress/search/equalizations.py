"""Equalizations as a choice of the search: by name, as search spaces, Optuna's parameters and people call them."""

from __future__ import annotations

from autocompress.passes.equalize.step import EQUALIZATIONS, EqualizeConfig
from autocompress.search.space import NONE

EQUALIZATION = "equalization"

__all__ = ["EQUALIZATION", "NONE", "config_of", "name_of"]

_NAMES = {config: name for name, config in EQUALIZATIONS.items()}


def config_of(name: str) -> EqualizeConfig | None:
    """The configuration that a name stands for."""
    return EQUALIZATIONS[name]


def name_of(config: EqualizeConfig | None) -> str:
    """The name of a configuration; of one that no search chose, its contents."""
    return _NAMES[config] if config in _NAMES else str(config)
