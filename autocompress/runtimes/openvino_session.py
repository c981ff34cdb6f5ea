"""One model loaded into OpenVINO on the CPU.

A graph compiled for unknown sizes is slower than one compiled for the sizes at hand, so a session compiles one static
version per set of input shapes it is fed, when it is first fed them, and keeps the latest few.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
from onnx import ModelProto, ValueInfoProto

from autocompress.graph.tensors import dtype_name
from autocompress.runtimes.failure import runtime_failure
from autocompress.runtimes.float_environment import flushed_denormals, kept_float_environment
from autocompress.runtimes.protocol import Array, Feeds, InputSpec, SessionOptions

NAME = "openvino"
_DEVICE = "CPU"
_KEPT_VERSIONS = 4
_DTYPES = {
    "f32": "float32", "f64": "float64", "f16": "float16", "bf16": "bfloat16", "boolean": "bool", "string": "string",
    **{f"i{bits}": f"int{bits}" for bits in (2, 4, 8, 16, 32, 64)},
    **{f"u{bits}": f"uint{bits}" for bits in (2, 4, 8, 16, 32, 64)},
}  # fmt: skip
Shapes = tuple[tuple[str, tuple[int, ...]], ...]


def element_type(name: str) -> str:
    """Numpy-style name of an element type as OpenVINO spells it ("f32" -> "float32")."""
    return _DTYPES.get(name, name)


@cache
def _core() -> Any:
    return openvino.Core()


def read_network(model: bytes | str) -> Any:
    """Reads a model into OpenVINO's own form.

    Args:
        model: serialized model, or the path of one.

    Raises:
        RuntimeFailure: when OpenVINO refuses it.
    """
    try:
        return _core().read_model(model)
    except Exception as error:  # the bindings raise bare RuntimeError, and others for malformed bytes
        raise runtime_failure(NAME, f"could not load {called(model)}", error) from error


def shapes_of(feeds: Feeds) -> Shapes:
    """Shape of each input, sorted by name."""
    return tuple(sorted((name, tuple(np.shape(values))) for name, values in feeds.items()))


def compile_network(network: Any, threads: int, *, shapes: Shapes | None = None, accounting: bool = False) -> Any:
    """Compiles what ``read_network`` gave; with shapes, a copy that takes exactly those.

    Raises:
        Exception: whatever OpenVINO raises; callers say what they were doing.
    """
    if shapes is not None:
        network = network.clone()
        network.reshape({name: list(shape) for name, shape in shapes})
    settings = {
        # Else a processor that can computes in bfloat16, whose results are not those of the model.
        "INFERENCE_PRECISION_HINT": "f32",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        # Else a worker is woken on the processor of the calling thread after each pause, and two take as long as one.
        "ENABLE_CPU_PINNING": threads > 1,
        # For OpenVINO's own threads; the calling thread is switched while it runs (see float_environment).
        "CPU_DENORMALS_OPTIMIZATION": True,
        "PERF_COUNT": accounting,
    }
    with kept_float_environment():
        compiled = _core().compile_model(network, _DEVICE, settings)
    usable = int(compiled.get_property("INFERENCE_NUM_THREADS"))
    if usable < threads:
        # It would go on with fewer, and every time would be that of another number of threads.
        raise ValueError(f"only {usable} of {threads} threads can be had on the processors it may use")
    return compiled


class BoundRequest:
    """A compiled model with its inputs in place, ready to run again and again without copying them."""

    def __init__(self, compiled: Any, feeds: Feeds) -> None:
        self._request = compiled.create_infer_request()
        self._bound: dict[str, Array] = {}
        self.bind(feeds)

    def bind(self, feeds: Feeds) -> None:
        """Puts other values in place; arrays already there are left."""
        for name, values in feeds.items():
            if self._bound.get(name) is not values:
                # OpenVINO reads the array's own memory, which must be contiguous and, for its sake, writable; where
                # it is neither, a copy takes its place, made anew each time.
                usable = np.require(values, requirements=["C", "W"])
                self._request.set_tensor(name, openvino.Tensor(usable, shared_memory=True))
                self._bound[name] = usable

    def infer(self) -> None:
        """Runs once."""
        self._request.infer(share_outputs=True)

    def results(self) -> list[Array]:
        """Copies of the outputs of the last run, in order."""
        return [np.array(tensor.data) for tensor in self._request.output_tensors]


class OpenVinoSession:
    """A loaded model; see ``autocompress.runtimes.protocol.Session``.

    ``options.spinning`` and ``options.optimize`` have no counterpart in OpenVINO and change nothing.
    """

    def __init__(self, model: bytes | str, options: SessionOptions) -> None:
        self._network = read_network(model)
        graph = _graph_only(model).graph
        weights = {weight.name for weight in graph.initializer}
        given = [value for value in graph.input if value.name not in weights]
        # OpenVINO drops an input that nothing reads; it is still the model's, and may be fed.
        self._ports = {name: port for port in self._network.inputs for name in port.get_names()}
        self.inputs = tuple(_spec(value, self._ports.get(value.name)) for value in given)
        self.outputs = tuple(_spec(*pair) for pair in zip(graph.output, self._network.outputs, strict=True))
        self.clock = "cpu" if options.threads == 1 else "wall"
        # With one thread OpenVINO computes in the calling thread.
        self._now = time.thread_time_ns if options.threads == 1 else time.perf_counter_ns
        self._threads = options.threads
        self._names = [value.name for value in graph.output]
        self._versions: OrderedDict[Shapes, BoundRequest] = OrderedDict()
        self._static = None if self._network.is_dynamic() else self._compile_now(model)

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Runs once; returns every output by name."""
        with flushed_denormals():
            try:
                request = self._request(feeds)
                request.infer()
                return dict(zip(self._names, request.results(), strict=True))
            except Exception as error:  # the bindings raise bare RuntimeError, and others for wrong arrays
                raise runtime_failure(NAME, "failed while running the model", error) from error

    def time_runs(self, feeds: Feeds, runs: int = 1) -> float:
        """Seconds per run, averaged over ``runs`` runs, by ``clock``."""
        with flushed_denormals():
            try:
                request = self._request(feeds)
                start = self._now()
                for _ in range(runs):
                    request.infer()
                return (self._now() - start) / (runs * 1e9)
            except Exception as error:  # the bindings raise bare RuntimeError, and others for wrong arrays
                raise runtime_failure(NAME, "failed while running the model", error) from error

    def _compile_now(self, model: bytes | str) -> Any:
        try:
            return compile_network(self._network, self._threads)
        except Exception as error:  # the bindings raise bare RuntimeError
            raise runtime_failure(NAME, f"could not load {called(model)}", error) from error

    def _request(self, feeds: Feeds) -> BoundRequest:
        expected = {spec.name for spec in self.inputs}
        if feeds.keys() != expected:
            raise ValueError(f"the inputs are {', '.join(sorted(expected))}, not {', '.join(sorted(feeds)) or 'none'}")
        feeds = {name: values for name, values in feeds.items() if name in self._ports}
        shapes = shapes_of(feeds)
        if shapes in self._versions:
            self._versions.move_to_end(shapes)
            self._versions[shapes].bind(feeds)
        else:
            compiled = self._static or compile_network(self._network, self._threads, shapes=shapes)
            self._versions[shapes] = BoundRequest(compiled, feeds)
            if len(self._versions) > _KEPT_VERSIONS:
                self._versions.popitem(last=False)
        return self._versions[shapes]


def called(model: bytes | str) -> str:
    """What a message calls a model: its file, where it has one."""
    return Path(model).name if isinstance(model, str) else "the model"


def _graph_only(model: bytes | str) -> ModelProto:
    return ModelProto.FromString(model) if isinstance(model, bytes) else onnx.load(model, load_external_data=False)


def _spec(value: ValueInfoProto, port: Any | None) -> InputSpec:
    """Sizes are OpenVINO's, which infers more of them; names of the others are the model's."""
    declared = value.type.tensor_type
    symbols = [d.dim_param or None for d in declared.shape.dim]
    if port is None:
        sizes = [d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in declared.shape.dim]
        return InputSpec(value.name, dtype_name(declared.elem_type), tuple(sizes))
    partial = port.get_partial_shape()
    shape: tuple[int | str | None, ...] = ()
    if partial.rank.is_static:
        known = symbols if len(symbols) == len(partial) else [None] * len(partial)
        shape = tuple(d.get_length() if d.is_static else s for d, s in zip(partial, known, strict=True))
    return InputSpec(value.name, element_type(port.get_element_type().type_name), shape)
