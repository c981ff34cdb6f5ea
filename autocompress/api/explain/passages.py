"""Reasons that lie between operators: conversions, changes of layout, activations that no kernel took in."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from autocompress.api.explain import words
from autocompress.api.explain.executed import CONVERSION, INTEGERS, KERNEL, LAYOUT, PricedGraph, PricedOp, converted
from autocompress.api.explain.given import GivenModel
from autocompress.api.explain.reason import Reason

_PASSING = (CONVERSION, LAYOUT)
_ANYTHING = ("Subgraph", "Eltwise")  # kinds of layers that say nothing of what they compute


def conversion(op: PricedOp, graph: PricedGraph, given: GivenModel, runtime: str) -> Reason:
    """Why integers become floats here, or floats integers."""
    source = converted(op.signature)
    if source is not None and source.constant:
        return _weight(op, graph, given, runtime)
    if source is not None and source.dtype in INTEGERS:
        return _to_float(op, graph, given, runtime)
    return _to_integer(op, graph, given, runtime)


def layout(op: PricedOp, graph: PricedGraph, given: GivenModel) -> Reason | None:
    """Between which operators memory is reordered, if the runtime does so on its own account."""
    if not given.inserted(op):
        return None
    before = next((o for o in graph.before(op) if o.role not in _PASSING), None)
    after = list(_beyond(graph.reading, op, _PASSING, ()))
    source = _named(before, given) if before is not None else "the model's input"
    target = words.few([_named(o, given) for o in after]) if after else "the model's output"
    return Reason("layout_change", f"the runtime reorders memory between {source} and {target}, whose layouts differ")


def own_activation(op: PricedOp, graph: PricedGraph, given: GivenModel) -> Reason | None:
    """An elementwise operator right behind a kernel that the runtime did not take into it."""
    if op.family != "elementwise" or op.role == KERNEL:
        return None
    feeding = list(_beyond(graph.feeding, op, (LAYOUT,), ()))
    kernels = [o for o in feeding if o.role == KERNEL]
    others = [o for o in feeding if o.role != KERNEL]
    if len(kernels) != 1 or any(kernels[0] not in _beyond(graph.feeding, o, (LAYOUT,), ()) for o in others):
        return None
    kind, executed = given.kind(op), op.signature.op_type
    shown = kind if kind in executed or executed in _ANYTHING else f"{kind} (executed as {executed})"
    return Reason(
        "own_activation",
        f"{shown} runs on its own: the runtime did not take it into the kernel of {_named(kernels[0], given)}",
    )


def _weight(op: PricedOp, graph: PricedGraph, given: GivenModel, runtime: str) -> Reason:
    reader = next(_beyond(graph.reading, op, _PASSING, ()), None)
    owner = _named(reader, given) if reader is not None else "what follows"
    because = f", which runs in float{_why_float(reader, given, runtime)}" if reader is not None else ""
    return Reason("weight_dequantize", f"quantized weights are turned into floats on every run for {owner}{because}")


def _to_float(op: PricedOp, graph: PricedGraph, given: GivenModel, runtime: str) -> Reason:
    source = next((o for o in graph.before(op) if o.role not in _PASSING), None)
    origin = f"the int8 result of {_named(source, given)}" if source is not None else "what was quantized just before"
    readers = list(_beyond(graph.reading, op, (LAYOUT,), ("view",)))
    if given.writes_output(op) or not readers:
        return Reason("model_output", f"the model's output is float: {origin} is converted at the end")
    floats = words.few(list(dict.fromkeys(f"{_named(o, given)}{_why_float(o, given, runtime)}" for o in readers)), 2)
    return Reason("leftover_dequantize", f"leftover conversion: {origin} is read in float by {floats}")


def _to_integer(op: PricedOp, graph: PricedGraph, given: GivenModel, runtime: str) -> Reason:
    target = next((o for o in graph.after(op) if o.role not in _PASSING), None)
    wanted = _named(target, given) if target is not None else "what follows"
    if not list(_beyond(graph.feeding, op, (LAYOUT,), ("view", "movement"))):
        return Reason("model_input", f"the model's input is float, and {wanted} computes on integers")
    source = next(_beyond(graph.feeding, op, (LAYOUT,), ("view",)))
    if source.role == CONVERSION:
        return Reason("requantize", f"the int8 values that {wanted} reads are scaled anew by way of float")
    because = _why_float(source, given, runtime)
    return Reason("quantize", f"conversion for {wanted}: {_named(source, given)} gives its values in float{because}")


def _beyond(
    step: Callable[[PricedOp], list[PricedOp]], op: PricedOp, roles: tuple[str, ...], families: tuple[str, ...]
) -> Iterator[PricedOp]:
    """The nearest operators in one direction that are none of the roles and families, which are looked through."""
    seen: set[int] = set()
    waiting = step(op)
    while waiting:
        found = waiting.pop(0)
        if found.position in seen:
            continue
        seen.add(found.position)
        if found.role in roles or found.family in families:
            waiting += step(found)
        else:
            yield found


def _why_float(op: PricedOp, given: GivenModel, runtime: str) -> str:
    """Why an operator computes in float in a model that has integers, in brackets; "" where nothing tells."""
    if op.role == CONVERSION:
        return " (only to be scaled anew)"
    if given.has_integer_kernel(op) is False:
        return f" ({runtime} has no integer kernel for {given.kind(op)})"
    if op.role == KERNEL:
        missing, activation = given.missing_conversions(op), given.activation_before_quantize(op)
        between = [f"{activation} stands before its QuantizeLinear"] if activation else []
        return f" ({words.few(missing or between)})" if missing or between else ""
    return " (no kernel took it in)" if op.family == "elementwise" else ""


def _named(op: PricedOp, given: GivenModel) -> str:
    label, kind = given.label(op), given.kind(op)
    return label if kind in label else f"{kind} {label}"
