"""What ONNX Runtime makes of a model: its optimized graph, and the shapes that flow through it.

The optimized graph is the one ONNX Runtime writes itself (``optimized_model_filepath``).  It carries no shapes, so it
is given unique node names and run once, unoptimized and profiled: the profile has one event per node with the types
of its results.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto

from autocompress.errors import RuntimeFailure
from autocompress.graph.external import is_external
from autocompress.graph.signature import TensorType
from autocompress.graph.walk import all_tensors
from autocompress.runtimes.failure import runtime_failure
from autocompress.runtimes.onnxruntime_session import NAME, element_type, native_session
from autocompress.runtimes.operator_signature import constant_type
from autocompress.runtimes.protocol import Array, Feeds, SessionOptions

_NAME_PREFIX = "op"
_EVENT_SUFFIX = "_kernel_time"
_LARGE_BYTES = 1 << 30  # above it weights are written beside the graph, since protobuf ends at 2 GB
_MINIMUM_EXTERNAL_BYTES = "1024"


@dataclass(frozen=True)
class OptimizedGraph:
    """The graph as executed.

    Attributes:
        model: the optimized model, nodes renamed to be unique ("op0", "op1", ...).
        names: the names the runtime had given the nodes, in the order of ``model.graph.node``.
        order: node positions in execution order.
        types: tensor name -> type, for every tensor of the main graph.
        integers: values of the integer and boolean activations (shapes, indices, masks).
    """

    model: ModelProto
    names: tuple[str, ...]
    order: tuple[int, ...]
    types: Mapping[str, TensorType]
    integers: Mapping[str, Array]


def optimized_graph(model: bytes | str, feeds: Feeds, *, threads: int, optimize: bool = True) -> OptimizedGraph:
    """Optimizes a model, runs it once on ``feeds`` and reads back what was executed.

    Raises:
        RuntimeFailure: when ONNX Runtime refuses the model or fails on the feeds.
    """
    with tempfile.TemporaryDirectory(prefix="autocompress-") as folder:
        optimized = _optimize(model, threads, optimize, Path(folder))
        names = tuple(node.name for node in optimized.graph.node)
        for i, node in enumerate(optimized.graph.node):
            node.name = f"{_NAME_PREFIX}{i}"
        runnable = _runnable(optimized, Path(folder))
        events = _profile(runnable, feeds, threads, Path(folder))
        types = _types(optimized, feeds, events)
        integers = _integer_values(optimized, types, feeds, threads, Path(folder))
    return OptimizedGraph(optimized, names, tuple(events), types, integers)


def _optimize(model: bytes | str, threads: int, optimize: bool, folder: Path) -> ModelProto:
    target = folder / "optimized.onnx"

    def adjust(native: Any) -> None:
        native.optimized_model_filepath = str(target)
        if _keeps_weights_apart(model):
            native.add_session_config_entry(
                "session.optimized_model_external_initializers_file_name", "optimized.weights"
            )
            native.add_session_config_entry(
                "session.optimized_model_external_initializers_min_size_in_bytes", _MINIMUM_EXTERNAL_BYTES
            )

    native_session(model, SessionOptions(threads=threads, optimize=optimize), adjust=adjust)
    return onnx.load(str(target))


def _keeps_weights_apart(model: bytes | str) -> bool:
    """Whether the optimized form has to: it is large, or would name files that are not beside it."""
    if isinstance(model, bytes):
        return len(model) > _LARGE_BYTES
    given = onnx.load(model, load_external_data=False)
    return Path(model).stat().st_size > _LARGE_BYTES or any(map(is_external, all_tensors(given)))


def _runnable(model: ModelProto, folder: Path) -> bytes | str:
    if model.ByteSize() <= _LARGE_BYTES:
        return bytes(model.SerializeToString())
    path = folder / "renamed.onnx"
    copy = ModelProto()
    copy.CopyFrom(model)
    onnx.save_model(copy, str(path), save_as_external_data=True, location="renamed.weights", size_threshold=1024)
    return str(path)


def _profile(model: bytes | str, feeds: Feeds, threads: int, folder: Path) -> dict[int, dict[str, Any]]:
    """Runs once; node position -> profile event arguments, in execution order."""

    def adjust(native: Any) -> None:
        native.enable_profiling = True
        native.profile_file_prefix = str(folder / "profile")

    session = native_session(model, SessionOptions(threads=threads, optimize=False), adjust=adjust)
    try:
        session.run(None, dict(feeds))
    except Exception as error:  # ONNX Runtime's exception types share no base class
        session.end_profiling()
        raise runtime_failure(NAME, "failed while running the model", error) from error
    events = json.loads(Path(session.end_profiling()).read_text())
    found: dict[int, dict[str, Any]] = {}
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.startswith(_NAME_PREFIX) and name.endswith(_EVENT_SUFFIX):
            position = name[len(_NAME_PREFIX) : -len(_EVENT_SUFFIX)]
            if position.isdigit():
                found.setdefault(int(position), event["args"])
    return found


def _types(model: ModelProto, feeds: Feeds, events: Mapping[int, Mapping[str, Any]]) -> dict[str, TensorType]:
    types = {name: TensorType(str(values.dtype), tuple(values.shape)) for name, values in feeds.items()}
    types.update({weight.name: constant_type(weight) for weight in model.graph.initializer})
    for position, node in enumerate(model.graph.node):
        if position not in events:
            raise RuntimeFailure(
                f"{NAME} did not report operator {node.op_type} of its own optimized graph; its profile is incomplete"
            )
        types.update(_result_types(node, events[position]))
    return types


def _result_types(node: NodeProto, event: Mapping[str, Any]) -> dict[str, TensorType]:
    written = [name for name in node.output if name]
    reported = event.get("output_type_shape", [])
    found = {name: TensorType("opaque", ()) for name in written}  # sequences, optionals: no tensor type
    if len(reported) == len(written):
        for name, entry in zip(written, reported, strict=True):
            for dtype, shape in entry.items():
                found[name] = TensorType(element_type(dtype), tuple(int(d) for d in shape))
    return found


def _integer_values(
    model: ModelProto, types: Mapping[str, TensorType], feeds: Feeds, threads: int, folder: Path
) -> dict[str, Array]:
    """Values of integer and boolean activations that some node reads: an operator timed alone needs valid ones."""
    wanted = {
        name
        for node in model.graph.node
        for name in node.input
        if name in types and not types[name].constant and types[name].dtype in ("int64", "int32", "bool")
    }
    values: dict[str, Array] = {name: np.asarray(feeds[name]) for name in wanted if name in feeds}
    computed = sorted(wanted - values.keys())
    if not computed:
        return values
    shown = ModelProto()
    shown.CopyFrom(model)
    have = {o.name for o in shown.graph.output}
    for name in computed:
        if name not in have:
            dtype = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(types[name].dtype))
            shown.graph.output.append(onnx.helper.make_tensor_value_info(name, dtype, None))
    session = native_session(_runnable(shown, folder), SessionOptions(threads=threads, optimize=False))
    values.update(zip(computed, session.run(computed, dict(feeds)), strict=True))
    return values
