"""What OpenVINO executes of a compiled model, as its runtime model reports it after a run.

Each executed node has the kernel that was chosen for it ("brgconv_avx512_I8"), layouts and precisions of its results,
the names of the operators it stands for, and the average time of its runs in whole microseconds.

OpenVINO says "not_executed" of every node with an average of zero: of those that are never run, because what they do is
done by sharing memory, and of those that are done in less than a microsecond.  A node that never took any time counts
as executed if a kernel was chosen for it, other than to reorder what lies in memory as it should.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from autocompress.graph.signature import TensorType
from autocompress.runtimes.openvino_session import element_type

_NO_TIME = "not_executed"
_NO_KERNEL = "unknown"
_ENDS = frozenset({"Const", "Input", "Output"})


@dataclass(frozen=True)
class Operand:
    """One operand of an executed node.

    Attributes:
        type: its type, with logical sizes (batch, channels, ... whatever the layout).
        layout: order and blocking of its axes in memory ("acdb"); "" for a constant.
    """

    type: TensorType
    layout: str


@dataclass(frozen=True)
class ExecutedNode:
    """One node that OpenVINO executes.

    Attributes:
        name: OpenVINO's name for it.
        layer: its kind ("Convolution", "Subgraph", "Reorder", ...).
        kernel: the implementation ("jit_avx512_I8").
        precision: what it computes in ("f32", "u8", ...).
        originals: names of what it stands for, as OpenVINO has them.
        operands: in order; None where omitted.
        results: in order.
        readers: names of the nodes that read its results, directly or through nodes that are never run.
    """

    name: str
    layer: str
    kernel: str
    precision: str
    originals: tuple[str, ...]
    operands: tuple[Operand | None, ...]
    results: tuple[Operand, ...]
    readers: tuple[str, ...]


@dataclass(frozen=True)
class ExecutedGraph:
    """The nodes that cost time, and the names of those that are there but need not be executed.

    Attributes:
        nodes: in execution order.
        idle: names of what the nodes stand for that cost nothing (views, concatenations in place).
    """

    nodes: tuple[ExecutedNode, ...]
    idle: tuple[str, ...]


def executed_graph(compiled: Any) -> ExecutedGraph:
    """Reads the graph of a model that was compiled with accounting and has run at least once."""
    nodes, idle = [], []
    layouts: dict[str, list[str]] = {}  # per node that is no constant, of its results
    for native in compiled.get_runtime_model().get_ordered_ops():
        facts = _facts(native)
        layer, ports = facts["layerType"], [port.get_source_output() for port in native.inputs()]
        executed = _is_executed(native, facts, layouts)
        fixed = ports and facts["execTimeMcs"] == _NO_TIME and not any(_name(port) in layouts for port in ports)
        if layer == "Const" or fixed:
            continue
        layouts[native.get_friendly_name()] = facts["outputLayouts"].split(",")
        if executed and layer not in _ENDS:
            nodes.append((int(facts["execOrder"]), _node(native, facts, layouts)))
        elif not executed and layer not in _ENDS:
            idle += _originals(facts)
    return ExecutedGraph(tuple(node for _, node in sorted(nodes, key=lambda pair: pair[0])), tuple(idle))


def accounts_us(compiled: Any) -> dict[str, int]:
    """Average time of the runs of each node so far, by name, in whole microseconds, rounded down."""
    found = {}
    for native in compiled.get_runtime_model().get_ops():
        text = _text(native.get_rt_info()["execTimeMcs"])
        found[str(native.get_friendly_name())] = 0 if text == _NO_TIME else int(text)
    return found


def _is_executed(native: Any, facts: Mapping[str, str], layouts: Mapping[str, list[str]]) -> bool:
    if facts["execTimeMcs"] != _NO_TIME:
        return True
    if facts["primitiveType"].startswith(_NO_KERNEL):
        return False
    return facts["layerType"] != "Reorder" or _moves(native, facts, layouts)


def _moves(reorder: Any, facts: Mapping[str, str], layouts: Mapping[str, list[str]]) -> bool:
    """Whether a reorder changes the element type, or the order of axes that are longer than 1."""
    source, result = reorder.input(0).get_source_output(), reorder.output(0)
    before, after = layouts.get(_name(source), [""])[0], facts["outputLayouts"]
    if source.get_element_type() != result.get_element_type() or not (before.isalpha() and after.isalpha()):
        return True
    long = {chr(ord("a") + axis) for axis, size in enumerate(_sizes(result.get_partial_shape())) if size > 1}
    return [axis for axis in before if axis in long] != [axis for axis in after if axis in long]


def _node(native: Any, facts: Mapping[str, str], layouts: Mapping[str, list[str]]) -> ExecutedNode:
    ports = [port.get_source_output() for port in native.inputs()]
    own = layouts[native.get_friendly_name()]
    return ExecutedNode(
        name=native.get_friendly_name(),
        layer=facts["layerType"],
        kernel=facts["primitiveType"],
        precision=facts["runtimePrecision"],
        originals=tuple(_originals(facts)),
        operands=tuple(_source(port, layouts) for port in ports),
        results=tuple(_operand(port, _at(own, i), constant=False) for i, port in enumerate(native.outputs())),
        readers=tuple(_readers(native)),
    )


def _readers(native: Any) -> Iterator[str]:
    for port in native.outputs():
        for target in port.get_target_inputs():
            reader = target.get_node()
            yield str(reader.get_friendly_name())
            if _text(reader.get_rt_info()["execTimeMcs"]) == _NO_TIME:
                yield from _readers(reader)


def _name(port: Any) -> str:
    return str(port.get_node().get_friendly_name())


def _source(port: Any, layouts: Mapping[str, list[str]]) -> Operand | None:
    if port.get_element_type().type_name in ("dynamic", "undefined"):
        return None  # stands in for an operand that there is none of, such as a bias
    own = layouts.get(_name(port))
    return _operand(port, "" if own is None else _at(own, port.get_index()), constant=own is None)


def _operand(port: Any, layout: str, *, constant: bool) -> Operand:
    dtype = element_type(port.get_element_type().type_name)
    return Operand(TensorType(dtype, _sizes(port.get_partial_shape()), constant), layout)


def _sizes(shape: Any) -> tuple[int, ...]:
    """Sizes as of the last run; where even that left one open, its upper bound, or 1 where there is none."""
    if shape.rank.is_dynamic:
        return ()
    return tuple(d.get_length() if d.is_static else max(d.get_max_length(), 1) for d in shape)


def _facts(native: Any) -> dict[str, str]:
    facts = native.get_rt_info()
    wanted = ("execOrder", "execTimeMcs", "layerType", "originalLayersNames", "outputLayouts", "primitiveType",
              "runtimePrecision")  # fmt: skip
    return {name: _text(facts[name]) if name in facts else "" for name in wanted}


def _text(value: Any) -> str:
    return str(value.astype(str)) if hasattr(value, "astype") else str(value)


def _originals(facts: Mapping[str, str]) -> list[str]:
    return [name for name in facts["originalLayersNames"].split(",") if name]


def _at(layouts: list[str], position: int) -> str:
    return layouts[position] if position < len(layouts) else layouts[-1]
