"""A run as a command line, for reports."""

from __future__ import annotations

import shlex
from typing import Any


def command_line(config: Any) -> str:
    """The ``autocompress run`` that gives this run again; options at their defaults are left out."""
    parts = ["autocompress", "run"]
    options = dict(config.to_options())
    defaults = type(config)().to_options()
    model = options.pop("model", None)
    if model is not None:
        parts.append(str(model))
    for name, sizes in options.pop("shapes", {}).items():
        parts += ["--shape", f"{name}:{sizes}"]
    for name, value in options.items():
        if defaults.get(name) == value:
            continue
        flag = f"--{name.replace('_', '-')}"
        parts += [flag] if value is True else [flag, str(value)]
    return " ".join(shlex.quote(part) for part in parts)
