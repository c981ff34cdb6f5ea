"""Functions of the user named as ``module.path:function``."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autocompress.errors import UserError

_REFERENCE = re.compile(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")


def is_function_reference(text: str) -> bool:
    """Whether ``text`` is written like ``module.path:function``."""
    return _REFERENCE.match(text) is not None


def import_function(reference: str, error: type[UserError]) -> Callable[..., Any]:
    """Imports ``module.path:function``; the current folder is searched first.

    Args:
        reference: the function.
        error: what to raise.

    Raises:
        UserError: of class ``error`` when the module or the function is missing, broken, or not callable.
    """
    module_name, _, function_name = reference.partition(":")
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as cause:
        raise error(
            f"'{reference}' could not be imported: there is no module '{cause.name}' here or installed."
        ) from cause
    except Exception as cause:  # the user's module may raise anything while it is imported
        raise error(f"'{reference}' could not be imported: {type(cause).__name__}: {cause}.") from cause
    finally:
        if added and here in sys.path:
            sys.path.remove(here)
    function = getattr(module, function_name, None)
    if not callable(function):
        raise error(f"'{reference}' could not be used: module '{module_name}' has no function '{function_name}'.")
    return function  # type: ignore[no-any-return]
