"""A run as a command line, for reports."""

from __future__ import annotations

import shlex
from typing import Any

_DEFAULTS = {"threads": 1, "batch_size": 1, "seed": 0, "workers": 1, "runtime": "onnxruntime", "resume": False,
             "deterministic": False, "search_space": "mixed_precision", "max_accuracy_drop": 0.01}  # fmt: skip


def command_line(config: Any) -> str:
    """The ``autocompress run`` that gives this run again; options at their defaults are left out."""
    parts = ["autocompress", "run"]
    options = dict(config.to_options())
    model = options.pop("model", None)
    if model is not None:
        parts.append(str(model))
    for name, sizes in options.pop("shapes", {}).items():
        parts += ["--shape", f"{name}:{sizes}"]
    for name, value in options.items():
        if name in _DEFAULTS and _DEFAULTS[name] == value:
            continue
        flag = f"--{name.replace('_', '-')}"
        parts += [flag] if value is True else [flag, str(value)]
    return " ".join(shlex.quote(part) for part in parts)
