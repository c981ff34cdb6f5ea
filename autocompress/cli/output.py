"""Where a result goes: one JSON document or tables on standard output; everything else is on standard error."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

Document = Mapping[str, Any]
Show = Callable[[Document], "Iterable[RenderableType]"]

_PIPED_WIDTH = 160


def print_result(document: Document, show: Show, *, as_json: bool) -> None:
    """Prints a result on standard output, as exactly one JSON document or as tables.

    Args:
        document: the result.
        show: turns the document into what rich prints.
        as_json: print JSON instead.
    """
    if as_json:
        sys.stdout.write(json.dumps(plain(document), indent=2, allow_nan=False) + "\n")
        return
    from rich.console import Console

    class Printer(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would end the process by itself

    # In a pipe nobody sees a width; a narrow guess would only cut cells off.
    console = Printer(file=sys.stdout, width=None if sys.stdout.isatty() else _PIPED_WIDTH)
    for renderable in show(document):
        console.print(renderable)


def plain(value: Any) -> Any:
    """``value`` as JSON can hold it: numpy numbers and arrays unpacked, paths as text, non-finite numbers as null.

    Raises:
        TypeError: for a value that has no JSON form.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    raise TypeError(f"{type(value).__name__} has no JSON form")


@contextlib.contextmanager
def stdout_reserved() -> Iterator[None]:
    """While work runs, sends what prints to standard output (a user's metric, say) to standard error.

    The descriptor itself is moved, so native code and child processes are covered too.
    """
    sys.stdout.flush()
    with contextlib.redirect_stdout(sys.stderr):
        try:
            kept = os.dup(1)
        except OSError:  # standard output was closed before we began
            yield
            return
        try:
            os.dup2(2, 1)
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 1)
            os.close(kept)
