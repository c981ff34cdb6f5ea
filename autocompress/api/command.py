"""A run as what to type to get it again, for reports."""

from __future__ import annotations

import shlex
from typing import Any


def command_line(config: Any) -> str:
    """The ``autocompress run`` that gives a run again, or the call where model or data only exist in Python.

    Options at their defaults are left out.
    """
    defaults = type(config)().to_options()
    options = {name: value for name, value in config.to_options().items() if defaults.get(name) != value}
    if config.model is None or config.data is None:
        return _call(options)
    parts = ["autocompress", "run", str(options.pop("model"))]
    for name, sizes in options.pop("shapes", {}).items():
        parts += ["--shape", f"{name}:{sizes}"]
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        parts += [flag] if value is True else [flag, str(value)]
    return " ".join(shlex.quote(part) for part in parts)


def _call(options: dict[str, Any]) -> str:
    model, data = (repr(options.pop(name)) if name in options else name for name in ("model", "data"))
    return f"autocompress.compress({', '.join([model, data, *(f'{name}={v!r}' for name, v in options.items())])})"
