"""``NAME:1x3x224x224``: the sizes that fix a dynamic model input."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from autocompress.errors import ConfigError

Shapes = dict[str, tuple[int, ...]]

_SIZES = re.compile(r"[0-9]{1,9}(?:[x×X][0-9]{1,9})*")


def parse_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """``"pixels:1x3x224x224"`` -> ``("pixels", (1, 3, 224, 224))``; the name itself may hold colons.

    Raises:
        ConfigError: without a name, without sizes, or with a size that is not a whole number above zero.
    """
    name, colon, sizes = text.strip().rpartition(":")
    if not colon or not name:
        raise ConfigError(f"shape {text!r} names no input; write NAME:1x3x224x224")
    return name, parse_sizes(name, sizes)


def parse_sizes(name: str, sizes: object) -> tuple[int, ...]:
    """``"1x3x224x224"`` or ``[1, 3, 224, 224]`` -> ``(1, 3, 224, 224)``.

    Raises:
        ConfigError: when a size is not a whole number above zero.
    """
    if isinstance(sizes, str) and _SIZES.fullmatch(sizes.strip()):
        parsed = tuple(int(size) for size in re.split("[x×X]", sizes.strip()))
    elif isinstance(sizes, int) and not isinstance(sizes, bool):
        parsed = (sizes,)
    elif isinstance(sizes, (list, tuple)) and sizes and all(type(size) is int for size in sizes):
        parsed = tuple(sizes)
    else:
        raise ConfigError(f"shape of input '{name}' is {sizes!r}; write sizes such as 1x3x224x224")
    if min(parsed) < 1:
        raise ConfigError(f"shape of input '{name}' is {format_sizes(parsed)}; every size must be at least 1")
    return parsed


def parse_shapes(value: object) -> Shapes:
    """A mapping name -> sizes, or a sequence of ``NAME:1x3`` texts, or one such text.

    Raises:
        ConfigError: when an entry is malformed or an input is named twice.
    """
    if isinstance(value, Mapping):
        return {str(name): parse_sizes(str(name), sizes) for name, sizes in value.items()}
    entries = [value] if isinstance(value, str) else value
    if not isinstance(entries, Iterable):
        raise ConfigError(f"shapes {value!r} are not a list; write NAME:1x3x224x224")
    shapes: Shapes = {}
    for entry in entries:
        if not isinstance(entry, str):
            raise ConfigError(f"shape {entry!r} is not text; write NAME:1x3x224x224")
        name, sizes = parse_shape(entry)
        if name in shapes:
            raise ConfigError(f"input '{name}' has two shapes; give it once")
        shapes[name] = sizes
    return shapes


def format_sizes(sizes: tuple[int, ...]) -> str:
    """``(1, 3, 224)`` -> ``"1x3x224"``."""
    return "x".join(str(size) for size in sizes)
