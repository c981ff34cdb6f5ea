"""A runtime whose times are written down instead of measured: for tests, and for users without the device.

Numbers come from ONNX Runtime, so accuracy is real.  The time of an operator is the recorded one where there is a
record, and otherwise that of a nominal device:

    seconds = launch + max(multiply-adds / throughput of the dtype, bytes / bandwidth)

Equal models take equal times, always.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autocompress.errors import TableError
from autocompress.graph.signature import OpSignature
from autocompress.runtimes.onnxruntime_cpu import OnnxRuntimeCpu
from autocompress.runtimes.onnxruntime_session import OnnxRuntimeSession
from autocompress.runtimes.protocol import Array, ExecutedOp, Feeds, QuantizationRules, SessionOptions
from autocompress.runtimes.work import bytes_touched, multiply_adds

_DEFAULT_OPTIONS = SessionOptions()


@dataclass(frozen=True)
class NominalDevice:
    """Constants of a device that exists only on paper.

    Attributes:
        multiply_adds_per_s: floating-point throughput of one thread.
        int8_gain: how many times faster integer multiply-adds are.
        bytes_per_s: memory bandwidth.
        launch_s: fixed cost of an operator.
        run_s: fixed cost of running a model once.
    """

    multiply_adds_per_s: float = 40e9
    int8_gain: float = 3.5
    bytes_per_s: float = 20e9
    launch_s: float = 1e-6
    run_s: float = 5e-6

    def seconds(self, signature: OpSignature, threads: int) -> float:
        """Time of one operator."""
        first = signature.inputs[0] if signature.inputs else None
        integer = first is not None and first.dtype in ("int8", "uint8")
        throughput = self.multiply_adds_per_s * threads * (self.int8_gain if integer else 1.0)
        return self.launch_s + max(multiply_adds(signature) / throughput, bytes_touched(signature) / self.bytes_per_s)


class ReplaySession:
    """A model whose outputs are real and whose times are written down."""

    def __init__(self, runtime: ReplayRuntime, model: bytes | str, options: SessionOptions) -> None:
        self._runtime = runtime
        self._model = model
        self._options = options
        self._session = OnnxRuntimeSession(model, options)
        self.inputs = self._session.inputs
        self.outputs = self._session.outputs
        self.clock = "replay"
        self._seconds: dict[tuple[tuple[str, tuple[int, ...]], ...], float] = {}

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Runs once, for real; returns every output by name."""
        return self._session.run(feeds)

    def time_runs(self, feeds: Feeds, runs: int = 1) -> float:
        """The written-down seconds of one run on feeds of these shapes; ``runs`` changes nothing."""
        shapes = tuple(sorted((name, tuple(values.shape)) for name, values in feeds.items()))
        if shapes not in self._seconds:
            ops = self._runtime.executed_ops(
                self._model, feeds, threads=self._options.threads, standalone=False, optimize=self._options.optimize
            )
            self._seconds[shapes] = self._runtime.device.run_s + sum(
                self._runtime.op_seconds(op.signature, self._options.threads) for op in ops
            )
        return self._seconds[shapes]


class ReplayRuntime:
    """See ``autocompress.runtimes.protocol.Runtime``.

    Args:
        recorded_us: signature key -> microseconds, as in a latency table.
        device: what operators without a record cost.
    """

    name: str = "replay"
    version: str = "1"

    def __init__(self, recorded_us: Mapping[str, float] | None = None, device: NominalDevice | None = None) -> None:
        self._inner = OnnxRuntimeCpu()
        self._recorded_us = dict(recorded_us or {})
        self.device = device or NominalDevice()
        self.quantization: QuantizationRules = self._inner.quantization

    @classmethod
    def from_table(cls, path: str | Path) -> ReplayRuntime:
        """Replays a latency table (JSON lines whose rows carry ``key`` and ``median_us``).

        Raises:
            TableError: when the file cannot be read as one.
        """
        recorded = {}
        try:
            for line in Path(path).read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                if "key" in row and row.get("valid", True):
                    recorded[str(row["key"])] = float(row["median_us"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TableError(f"{Path(path).name} cannot be replayed: {error}; give a latency table") from error
        return cls(recorded)

    def load(self, model: bytes | str, options: SessionOptions = _DEFAULT_OPTIONS) -> ReplaySession:
        """Loads a model from serialized bytes or from a path."""
        return ReplaySession(self, model, options)

    def executed_ops(
        self, model: bytes | str, feeds: Feeds, *, threads: int = 1, standalone: bool = True, optimize: bool = True
    ) -> Sequence[ExecutedOp]:
        """ONNX Runtime's optimized graph."""
        return self._inner.executed_ops(model, feeds, threads=threads, standalone=standalone, optimize=optimize)

    def replicate(self, standalone: bytes, copies: int) -> bytes:
        """The operator of a one-operator model ``copies`` times, each with weights of its own."""
        return self._inner.replicate(standalone, copies)

    def op_seconds(self, signature: OpSignature, threads: int) -> float:
        """The written-down time of one operator."""
        recorded = self._recorded_us.get(signature.key)
        return self.device.seconds(signature, threads) if recorded is None else recorded * 1e-6
