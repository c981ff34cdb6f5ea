"""How calls and results travel between our own processes: pickle, by reference where the other side can import it.

A worker process never runs the user's main module again (so scripts need no ``if __name__ == "__main__"`` guard, and
notebooks and ``python -c`` work).  Functions and classes that only exist there, lambdas and nested functions therefore
travel by value, through cloudpickle.

A call is the length of its name, the name (for messages, readable even where the rest is not), and the pickle of
(function, args, kwargs).
"""

from __future__ import annotations

import importlib
import io
import pickle
import struct
import sys
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

from autocompress.errors import ConfigError

_NAME_BYTES = struct.Struct(">H")

Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


def pack_call(name: str, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
    """The bytes of one call; raises whatever its parts raise when they cannot be pickled."""
    label = name.encode()[:0xFFFF]
    return _NAME_BYTES.pack(len(label)) + label + dumps((fn, args, dict(kwargs)))


def called_name(packed: bytes | bytearray) -> str:
    """The name in a packed call."""
    return bytes(packed[_NAME_BYTES.size : _call_offset(packed)]).decode(errors="replace")


def unpack_call(packed: bytes | bytearray) -> Call:
    """The call itself; raises whatever importing and rebuilding its parts raises."""
    call: Call = loads(memoryview(packed)[_call_offset(packed) :])
    return call


def dumps(value: object) -> bytes:
    """Pickles ``value`` for another process of ours; raises whatever its parts raise when they cannot be pickled."""
    buffer = io.BytesIO()
    _Transport(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    return buffer.getvalue()


def loads(payload: bytes | bytearray | memoryview) -> Any:
    """Reads what :func:`dumps` wrote.  Only ever given bytes from the pipe of one of our own processes."""
    return pickle.loads(payload)


class _Transport(pickle.Pickler):
    """Pickles by reference, except what no other process could import."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, FunctionType | type) and _lives_only_here(value):
            return pickle.loads, (_by_value(value),)
        return NotImplemented


def _call_offset(packed: bytes | bytearray) -> int:
    return _NAME_BYTES.size + int(_NAME_BYTES.unpack_from(packed)[0])


def _lives_only_here(value: FunctionType | type) -> bool:
    if value.__module__ == "__main__":
        return True
    found: object = sys.modules.get(value.__module__)
    for part in value.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is not value


def _by_value(value: FunctionType | type) -> bytes:
    try:
        cloudpickle = importlib.import_module("cloudpickle")
    except ImportError as error:
        raise ConfigError(
            f"{value.__qualname__} is defined in the main script or inside a function, where worker processes cannot "
            f"import it; move it to a module of its own, install cloudpickle, or run with 0 workers"
        ) from error
    data: bytes = cloudpickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    return data
