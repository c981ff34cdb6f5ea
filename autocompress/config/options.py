"""The options of a run: how each is read, and where its value goes.  One table, for flags, files and Python alike."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from autocompress.config.quantities import (
    parse_count,
    parse_drop,
    parse_duration_s,
    parse_latency_ms,
    parse_positive,
    parse_size,
    parse_speedup,
)
from autocompress.config.shapes import parse_shapes
from autocompress.errors import ConfigError

Parser = Callable[[object], object]

_MOST_AT_ONCE = 1024
"""Threads or processes: beyond any machine that this is for, and the system would only starve."""

NO_RECOVERY, LIGHT, FULL = "none", "light", "full"
RECOVERIES = (NO_RECOVERY, LIGHT, FULL)
"""How models that became smaller are trained: not beyond the closed form, for minutes, or for longer."""

FILE_SIZE, DEFLATE_SIZE = "file", "deflate"
SIZES = (FILE_SIZE, DEFLATE_SIZE)
"""Which size of a model counts: of the file that the runtime opens, or of the same file compressed for transfer."""

_FUNCTION = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


def is_function_reference(text: str) -> bool:
    """Whether ``text`` reads ``module.path:function``."""
    return _FUNCTION.fullmatch(text) is not None


def parse_path(name: str, value: object) -> Path:
    """A path, with ``~`` expanded; nothing is opened.

    Raises:
        ConfigError: for an empty path, and for anything that is no text or path.
    """
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value) or "\0" in str(value):
        raise ConfigError(f"{name} {value!r} is not a path; give a file or a folder")
    return Path(os.path.expanduser(value))


def parse_source(name: str, value: object) -> Path | str:
    """Where samples come from: a path, or ``module.path:function`` (kept as text).

    Raises:
        ConfigError: when it is neither.
    """
    return value if isinstance(value, str) and is_function_reference(value) else parse_path(name, value)


def parse_text(name: str, value: object) -> str:
    """A name; surrounding blanks are dropped.

    Raises:
        ConfigError: for blanks only, control characters, and anything that is no text.
    """
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ConfigError(f"{name} {value!r} is not a name; give plain text")
    return value.strip()


def parse_switch(name: str, value: object) -> bool:
    """True or false.

    Raises:
        ConfigError: for anything else.
    """
    if not isinstance(value, bool):
        raise ConfigError(f"{name} {value!r} must be true or false")
    return value


def parse_choice(name: str, allowed: Sequence[str], value: object) -> str:
    """One of a few words.

    Raises:
        ConfigError: for anything else.
    """
    if value not in allowed:
        raise ConfigError(f"{name} {value!r} is not known; give one of {', '.join(allowed)}")
    return str(value)


PARSERS: Mapping[str, Parser] = {
    "model": partial(parse_path, "model"),
    "data": partial(parse_source, "data"),
    "calibration_data": partial(parse_source, "calibration data"),
    "preprocess": partial(parse_path, "preprocess"),
    "metric": partial(parse_text, "metric"),
    "target_speedup": parse_speedup,
    "target_latency_ms": partial(parse_positive, "target latency in ms"),
    "target_size": parse_size,
    "size_as": partial(parse_choice, "size-as", SIZES),
    "max_accuracy_drop": parse_drop,
    "runtime": partial(parse_text, "runtime"),
    "threads": partial(parse_count, "threads", at_most=_MOST_AT_ONCE),
    "batch_size": partial(parse_count, "batch size"),
    "shapes": parse_shapes,
    "latency_table": partial(parse_path, "latency table"),
    "verify_command": partial(parse_text, "verify command"),
    "verify_timeout_s": partial(parse_positive, "verify timeout in s"),
    "search_space": partial(parse_text, "search space"),
    "recovery": partial(parse_choice, "recovery", RECOVERIES),
    "trials": partial(parse_count, "trials"),
    "timeout_s": partial(parse_positive, "timeout in s"),
    "workers": partial(parse_count, "workers", at_least=0, at_most=_MOST_AT_ONCE),
    "seed": partial(parse_count, "seed", at_least=0),
    "deterministic": partial(parse_switch, "deterministic"),
    "study": partial(parse_text, "study"),
    "storage": partial(parse_text, "storage"),
    "resume": partial(parse_switch, "resume"),
    "output": partial(parse_path, "output"),
}
"""Field of RunConfig -> how its value is read.  Reading a value that was read before changes nothing."""

WITH_UNITS: Mapping[str, tuple[str, Parser]] = {
    "target_latency": ("target_latency_ms", parse_latency_ms),
    "timeout": ("timeout_s", parse_duration_s),
    "verify_timeout": ("verify_timeout_s", parse_duration_s),
}
"""Option whose text carries a unit -> the field that holds the number, and how the text is read."""

OPTIONS: tuple[str, ...] = tuple(
    next((option for option, (name, _) in WITH_UNITS.items() if name == field), field) for field in PARSERS
)
"""Every option, as a flag (with ``-``) or as a key of a YAML file (with ``_``) calls it."""


def parse_options(options: Mapping[str, object]) -> dict[str, object]:
    """Reads options by name into fields of ``RunConfig``; None means "not given".

    Raises:
        ConfigError: for an unknown option (naming the nearest known one) and for a value that cannot be read.
    """
    fields: dict[str, object] = {}
    for option, value in options.items():
        field, parse = WITH_UNITS.get(option) or (option, PARSERS.get(option))
        if parse is None:
            raise ConfigError(f"unknown option '{option}'; {_nearest(option)}")
        if value is None:
            continue
        if field in fields:
            raise ConfigError(f"'{field}' is given twice, once as '{option}'; give it once")
        fields[field] = parse(value)
    return fields


def _nearest(option: str) -> str:
    close = difflib.get_close_matches(option, OPTIONS, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else f"known options are {', '.join(OPTIONS)}"
