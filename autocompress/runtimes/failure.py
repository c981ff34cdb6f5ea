"""Turns what a runtime throws into one sentence of ours."""

from __future__ import annotations

import re

from autocompress.errors import RuntimeFailure

_PREFIX = re.compile(r"^\[ONNXRuntimeError\]\s*:\s*\d+\s*:\s*[A-Z_]+\s*:\s*")
_PLACE = re.compile(r"Exception from \S+:\d+:|Check '.*?' failed at \S+:\d+:|FrontEnd API failed with \w+:")
_NOISE = re.compile(r"\s*(/[\w./+-]+\.(?:cc|h|cpp|hpp):\d+[^.]*?\)\s*|(?:In|Status Message):\s*)")
_LIMIT = 300


def runtime_failure(runtime: str, doing: str, error: Exception) -> RuntimeFailure:
    """The deliberate error for a foreign one.

    Args:
        runtime: the runtime's name.
        doing: what failed, as in "could not load the model".
        error: what the runtime raised.
    """
    return RuntimeFailure(f"{runtime} {doing}: {_sentence(str(error))}")


def _sentence(text: str) -> str:
    text = _PREFIX.sub("", " ".join(text.split()))
    text = _NOISE.sub(" ", _PLACE.sub(" ", text))
    text = " ".join(text.split())
    return text if len(text) <= _LIMIT else text[: _LIMIT - 3] + "..."
