"""One model loaded into ONNX Runtime on the CPU."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnxruntime

from autocompress.runtimes.failure import runtime_failure
from autocompress.runtimes.float_environment import flushed_denormals, kept_float_environment
from autocompress.runtimes.protocol import Array, Feeds, InputSpec, SessionOptions

NAME = "onnxruntime"
_QUIET = 4  # fatal only: what goes wrong is raised, and raised once
_DTYPES = {
    "float": "float32", "double": "float64", "float16": "float16", "bfloat16": "bfloat16", "bool": "bool",
    "string": "string", "int4": "int4", "uint4": "uint4", "int2": "int2", "uint2": "uint2",
    **{f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}  # fmt: skip


def element_type(name: str) -> str:
    """Numpy-style name of an element type as ONNX Runtime spells it ("float" -> "float32")."""
    return _DTYPES.get(name, name)


def native_session(
    model: bytes | str, options: SessionOptions, *, adjust: Callable[[Any], None] = lambda native: None
) -> Any:
    """Loads a model with settings that make timings repeatable; the CPU provider only.

    Args:
        model: serialized model, or the path of one.
        options: threads and so on.
        adjust: may change the native session options before the model is loaded.

    Raises:
        RuntimeFailure: when ONNX Runtime refuses the model.
    """
    native = onnxruntime.SessionOptions()
    native.intra_op_num_threads = options.threads
    native.inter_op_num_threads = 1
    native.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    native.log_severity_level = _QUIET
    levels = onnxruntime.GraphOptimizationLevel
    native.graph_optimization_level = levels.ORT_ENABLE_ALL if options.optimize else levels.ORT_DISABLE_ALL
    native.add_session_config_entry("session.intra_op.allow_spinning", "1" if options.spinning else "0")
    if (processors := _workers_processors(options.threads)) is not None:
        native.add_session_config_entry("session.intra_op_thread_affinities", processors)
    # For the runtime's own threads; the calling thread is switched while it runs (see float_environment).
    native.add_session_config_entry("session.set_denormal_as_zero", "1")
    adjust(native)
    try:
        with kept_float_environment():
            return onnxruntime.InferenceSession(model, native, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exception types share no base class
        where = Path(model).name if isinstance(model, str) else "the model"
        raise runtime_failure(NAME, f"could not load {where}", error) from error


class OnnxRuntimeSession:
    """A loaded model; see ``autocompress.runtimes.protocol.Session``."""

    def __init__(self, model: bytes | str, options: SessionOptions) -> None:
        self._native = native_session(model, options)
        self.inputs = tuple(_spec(i) for i in self._native.get_inputs())
        self.outputs = tuple(_spec(o) for o in self._native.get_outputs())
        self.clock = "cpu" if options.threads == 1 else "wall"
        self._names = [o.name for o in self.outputs]
        self._now = time.thread_time_ns if options.threads == 1 else time.perf_counter_ns

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Runs once; returns every output by name."""
        with flushed_denormals():
            return dict(zip(self._names, self._run(feeds), strict=True))

    def time_runs(self, feeds: Feeds, runs: int = 1) -> float:
        """Seconds per run, averaged over ``runs`` runs, by ``clock``."""
        feeds = dict(feeds)
        with flushed_denormals():
            start = self._now()
            for _ in range(runs):
                self._run(feeds)
            return (self._now() - start) / (runs * 1e9)

    def _run(self, feeds: Mapping[str, Array]) -> list[Any]:
        try:
            outputs: list[Any] = self._native.run(None, feeds)
        except Exception as error:  # ONNX Runtime's exception types share no base class
            raise runtime_failure(NAME, "failed while running the model", error) from error
        return outputs


def _workers_processors(threads: int) -> str | None:
    """A processor for each worker thread, counted from 1; None for one thread or where processors are too few.

    A worker that sleeps between runs is else woken on the processor of the calling thread, and after every pause the
    two share it for many milliseconds: two threads then take as long as one.
    """
    if threads == 1 or not hasattr(os, "sched_getaffinity"):
        return None
    allowed = sorted(os.sched_getaffinity(0))
    return ";".join(str(p + 1) for p in allowed[1:threads]) if len(allowed) >= threads else None


def _spec(native: Any) -> InputSpec:
    dtype = native.type
    if dtype.startswith("tensor("):
        dtype = element_type(dtype[len("tensor(") : -1])
    return InputSpec(native.name, dtype, tuple(native.shape))
