"""Which sizes of a PyTorch module's inputs stay open when it is traced, and example inputs that can be traced so."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from autocompress.errors import ConfigError

_BATCH = "batch"
_TRACED_SIZE = 2  # torch.export takes a size of 1 for a constant

Axes = dict[int, str]


def open_sizes(
    module: Any, positional: Sequence[Any], named: Mapping[str, Any], asked: Any = None
) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]:
    """Example inputs, and what ``torch.export`` calls their dynamic shapes.

    Args:
        module: what is traced; its ``forward`` names the inputs.
        positional: tensors, or tuples, lists and dictionaries of tensors.
        named: the same, by name.
        asked: open sizes besides the number of samples (dimension 0 of every tensor where it is as long as in the
            first): input name -> ``{axis: symbol}``, or a sequence of such in the order of the inputs; sizes of one
            symbol are equal.

    Returns:
        Positional and named inputs in which no open size is 1, and per input of ``forward`` the symbol of each open
        axis (None where nothing is open).

    Raises:
        ConfigError: when the inputs do not fit ``forward``, or what is asked does not fit the inputs.
    """
    try:
        bound = inspect.signature(module.forward).bind(*positional, **named)
    except TypeError as error:
        raise ConfigError(f"The example input does not fit {type(module).__name__}.forward: {error}.") from None
    wanted = _by_name(asked, list(bound.arguments))
    first = next(_tensors(bound.arguments))
    batch = first.shape[0] if first.ndim else None
    shapes = {name: _open(name, value, wanted.get(name), batch) for name, value in bound.arguments.items()}
    bound.arguments.update({name: _traceable(value, shapes[name]) for name, value in bound.arguments.items()})
    return bound.args, bound.kwargs, shapes


def _by_name(asked: Any, names: list[str]) -> dict[str, Any]:
    if asked is None:
        return {}
    if not isinstance(asked, Mapping):
        if not isinstance(asked, (tuple, list)) or len(asked) > len(names):
            raise ConfigError(f"Dynamic shapes are given per input ({', '.join(names)}); {asked!r} is not.")
        return dict(zip(names, asked, strict=False))
    unknown = next((name for name in asked if name not in names), None)
    if unknown is not None:
        raise ConfigError(f"Dynamic shapes name '{unknown}', but the module's inputs are {', '.join(names)}.")
    return dict(asked)


def _tensors(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, (tuple, list)):
        yield value
        return
    for part in value:
        yield from _tensors(part)


def _open(name: str, value: Any, asked: Any, batch: int | None) -> Any:
    """The open axes of every tensor in ``value``, in its structure."""
    if isinstance(value, Mapping):
        given = asked if isinstance(asked, Mapping) else {}
        return {key: _open(name, part, given.get(key), batch) for key, part in value.items()}
    if isinstance(value, (tuple, list)):
        parts = list(asked) if isinstance(asked, (tuple, list)) else []
        parts += [None] * (len(value) - len(parts))
        return type(value)(_open(name, part, given, batch) for part, given in zip(value, parts, strict=False))
    axes: Axes = {0: _BATCH} if batch is not None and value.ndim and value.shape[0] == batch else {}
    return (axes | _axes(name, asked, value.ndim)) or None


def _axes(name: str, asked: Any, rank: int) -> Axes:
    """``{1: "sequence"}`` or ``("batch", "sequence")`` as the former."""
    if isinstance(asked, (tuple, list)):
        asked = {axis: symbol for axis, symbol in enumerate(asked) if symbol is not None}
    if asked is None:
        return {}
    if not isinstance(asked, Mapping) or not all(
        isinstance(axis, int) and -rank <= axis < rank and isinstance(symbol, str) and symbol.isidentifier()
        for axis, symbol in asked.items()
    ):
        raise ConfigError(
            f"Dynamic shapes of '{name}' are {asked!r}; give the symbol of each open axis of its {rank}, "
            'such as {1: "sequence"}.'
        )
    return {axis % rank: symbol for axis, symbol in asked.items()}


def _traceable(value: Any, shapes: Any) -> Any:
    """``value`` with every open size of 1 doubled."""
    if isinstance(value, Mapping):
        return {key: _traceable(part, shapes[key]) for key, part in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(_traceable(part, given) for part, given in zip(value, shapes, strict=True))
    times = [_TRACED_SIZE if axis in (shapes or {}) and size == 1 else 1 for axis, size in enumerate(value.shape)]
    return value.repeat(*times) if max(times, default=1) > 1 else value
