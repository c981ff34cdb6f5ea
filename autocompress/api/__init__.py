"""What users call: ``compress``, ``estimate``, ``measure``, ``profile``, ``inspect``, ``sensitivity`` and the rest.

Each function is one short story over the layers below; names are imported when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autocompress.api import predictors, studies, tables
    from autocompress.api.apply import apply_recipe
    from autocompress.api.compression import RunResult, compress
    from autocompress.api.diagnose import doctor
    from autocompress.api.inspection import inspect
    from autocompress.api.latency import estimate, measure
    from autocompress.api.layers import sensitivity
    from autocompress.api.profiling import profile
    from autocompress.api.reporting import report

_MODULES = {
    "RunResult": "compression",
    "apply_recipe": "apply",
    "compress": "compression",
    "doctor": "diagnose",
    "estimate": "latency",
    "inspect": "inspection",
    "measure": "latency",
    "profile": "profiling",
    "report": "reporting",
    "sensitivity": "layers",
    "predictors": "",
    "studies": "",
    "tables": "",
}

__all__ = [
    "RunResult",
    "apply_recipe",
    "compress",
    "doctor",
    "estimate",
    "inspect",
    "measure",
    "predictors",
    "profile",
    "report",
    "sensitivity",
    "studies",
    "tables",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _MODULES[name]
    if not module:
        return importlib.import_module(f"{__name__}.{name}")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)
