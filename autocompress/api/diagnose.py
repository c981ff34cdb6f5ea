"""``doctor``: what this machine is and what of autocompress works on it."""

from __future__ import annotations

import platform
from dataclasses import asdict
from typing import Any

from autocompress.api.tables import list_tables
from autocompress.api.versions import installed_versions
from autocompress.errors import AutocompressError
from autocompress.latency.device import identify_device
from autocompress.runtimes import RUNTIME_NAMES, get_runtime


def doctor() -> dict[str, Any]:
    """Device, instruction sets, runtimes, versions and latency tables, with what does not fit."""
    device = identify_device()
    tables = list_tables()
    notices = []
    if not any(table["matches"] for table in tables):
        notices.append(
            "no latency table fits this device: each run times its model's operators first; "
            "'autocompress profile' builds the table once"
        )
    return {
        "device": {
            **asdict(device),
            "isa": list(device.isa),
            "architecture": platform.machine(),
            "fingerprint": device.fingerprint,
        },
        "runtimes": [_runtime(name) for name in RUNTIME_NAMES],
        "versions": installed_versions(),
        "tables": tables,
        "notices": notices,
    }


def _runtime(name: str) -> dict[str, Any]:
    try:
        return {"name": name, "version": get_runtime(name).version, "problem": ""}
    except (AutocompressError, ImportError) as error:
        return {"name": name, "version": "", "problem": str(error)}
