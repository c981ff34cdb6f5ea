"""Which nodes and tensors of the given model an executed operator stands for.

ONNX Runtime derives the names of what it makes from the names of what it replaced ("<tensor>_nchwc",
"<node>_token_12", "<node>/QuickGeluFusion/"), and keeps the names of tensors that survive.
"""

from __future__ import annotations

from collections.abc import Iterable

from onnx import ModelProto, NodeProto

_SEPARATORS = "_/.:"


class SourceNames:
    """Finds the names of one given model within names that a runtime derived from them."""

    def __init__(self, given: ModelProto) -> None:
        self._nodes = {node.name for node in given.graph.node if node.name}
        self._tensors = {name for node in given.graph.node for name in node.output if name}
        readers: dict[str, int] = {}
        for node in given.graph.node:
            for name in set(node.input):
                readers[name] = readers.get(name, 0) + 1
        self._own_weights = {w.name for w in given.graph.initializer if readers.get(w.name) == 1}

    def of(self, name: str, node: NodeProto) -> tuple[str, ...]:
        """Names that an executed node stands for, best match first.

        Args:
            name: the name that the runtime gave the node.
            node: the executed node; its results and weights give more names.
        """
        found = [self._within(name)]
        found += [self._within(output) for output in node.output]
        found += [operand if operand in self._own_weights else None for operand in node.input]
        return tuple(dict.fromkeys(n for n in found if n is not None))

    def _within(self, derived: str) -> str | None:
        """The longest known name that ``derived`` begins with, cut at a separator."""
        for candidate in _prefixes(derived):
            if candidate in self._nodes or candidate in self._tensors:
                return candidate
        return None


def _prefixes(name: str) -> Iterable[str]:
    if not name:
        return
    yield name
    for end in range(len(name) - 1, 0, -1):
        if name[end] in _SEPARATORS:
            yield name[:end]
