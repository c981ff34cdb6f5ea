"""A run as a YAML file: the same options as the flags, with ``_`` for ``-``; flags win over the file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from autocompress.config.options import is_function_reference, parse_options
from autocompress.config.run_config import RunConfig
from autocompress.errors import ConfigError
from autocompress.files import replacing

_PATHS = ("model", "data", "calibration_data", "preprocess", "latency_table", "output")
_SPACE_SUFFIXES = (".yaml", ".yml")


def load_config(path: str | os.PathLike[str] | None, overrides: Mapping[str, object] | None = None) -> RunConfig:
    """Reads a run from a YAML file; ``overrides`` (the flags that were given) win over it.

    Relative paths in the file are relative to the file; relative paths in ``overrides`` to the working folder.

    Args:
        path: the YAML file, or None for ``overrides`` alone.
        overrides: options by name; None means "not given".

    Raises:
        ConfigError: when the file cannot be read, or an option is unknown, unreadable or contradicts another.
    """
    from_file = {} if path is None else _read_fields(Path(path))
    return RunConfig(**{**from_file, **parse_options(overrides or {})})


def dump_config(config: RunConfig, path: str | os.PathLike[str]) -> None:
    """Writes the YAML file from which ``load_config`` reads an equal config; paths become absolute.

    Raises:
        ConfigError: when the file cannot be written.
    """
    options = config.to_options()
    for name in _PATHS:
        if name in options and not is_function_reference(options[name]):
            options[name] = os.path.abspath(options[name])
    for name in ("storage", "search_space"):
        if _is_relative(name, options[name]):
            options[name] = os.path.abspath(options[name])
    _write(Path(path), yaml.safe_dump(options, sort_keys=False))


def _read_fields(path: Path) -> dict[str, object]:
    """Options of the file as fields of RunConfig; every complaint names the file."""
    options = _read_yaml(path)
    named = {str(key).replace("-", "_"): value for key, value in options.items()}
    if len(named) < len(options):
        raise ConfigError(f"{path}: an option is given twice, once with '-' and once with '_'; keep one")
    try:
        return parse_options({key: _relative_to(path.parent, key, value) for key, value in named.items()})
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _read_yaml(path: Path) -> dict[Any, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a text file; give a YAML file") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "unreadable"
        raise ConfigError(f"{path}{where} is not valid YAML: {problem}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no options; write lines such as 'target_speedup: 2x'")
    return content


def _relative_to(folder: Path, key: str, value: object) -> object:
    """``value``, with a relative path read from a file made relative to that file's folder."""
    if not isinstance(value, str) or not _is_relative(key, value):
        return value
    return str(folder / value)


def _is_relative(key: str, value: str) -> bool:
    """Whether ``value`` is a relative path: a search space may be a stem, a storage a URL, data a function."""
    if not value or value.startswith("~") or os.path.isabs(value):
        return False
    if key in ("data", "calibration_data"):
        return not is_function_reference(value)
    if key == "storage":
        return "://" not in value
    if key == "search_space":
        return value.endswith(_SPACE_SUFFIXES) or os.sep in value
    return key in _PATHS


def _write(path: Path, text: str) -> None:
    """Writes atomically: a reader sees the old file or the new one, never half of one."""
    try:
        with replacing(path) as file:
            file.write(text.encode())
    except OSError as error:
        raise ConfigError(f"cannot write the configuration {path}: {error.strerror}") from error
