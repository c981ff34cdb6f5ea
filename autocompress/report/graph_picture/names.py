"""Names of operators as boxes show them: where in the network it is, in few letters."""

from __future__ import annotations

import re

_TYPE = re.compile(r"[A-Z][A-Za-z]*(_\d+)?")
"""A part that only repeats the type of the operator, as exporters of PyTorch modules write it last."""


def place_in_network(name: str, letters: int) -> str:
    """The end of a path such as "/layer1/layer1.0/conv1/Conv", which is "layer1.0/conv1".

    Args:
        name: of an operator, its modules separated by slashes.
        letters: whole parts from the end are kept as long as they fit; of a single long part, its end.
    """
    parts = [part for part in name.split("/") if part] or [name]
    if len(parts) > 1 and _TYPE.fullmatch(parts[-1]):
        parts.pop()
    # A list of modules repeats its own name in front of the number of each.
    parts = [part for part, inner in zip(parts, [*parts[1:], ""], strict=True) if not inner.startswith(f"{part}.")]
    text = parts.pop()
    while parts and len(text) + len(parts[-1]) < letters:
        text = f"{parts.pop()}/{text}"
    return text if len(text) <= letters else f"…{text[len(text) - letters + 1 :]}"
