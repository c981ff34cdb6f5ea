"""What users call: ``compress``, ``estimate``, ``measure``, ``profile``, ``inspect``, ``sensitivity`` and the rest.

Each function is one short story over the layers below; names are imported when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autocompress.api import studies, tables
    from autocompress.api.apply import apply_recipe
    from autocompress.api.compress import RunResult, compress
    from autocompress.api.diagnose import doctor
    from autocompress.api.latency import estimate, inspect, measure, profile
    from autocompress.api.reporting import report
    from autocompress.api.sensitivity import sensitivity

_MODULES = {
    "RunResult": "compress",
    "apply_recipe": "apply",
    "compress": "compress",
    "doctor": "diagnose",
    "estimate": "latency",
    "inspect": "latency",
    "measure": "latency",
    "profile": "latency",
    "report": "reporting",
    "sensitivity": "sensitivity",
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
    imported = importlib.import_module(f"{__name__}.{module}")
    # A function may have its module's name, which the import has just bound to the module.
    globals().update({key: getattr(imported, key) for key, where in _MODULES.items() if where == module})
    return globals()[name]
