"""Runs a model a piece at a time, so that each layer's input is there when all layers before it are done.

A segment ends before a node.  What later nodes read from before it (the live tensors) is kept for all samples and fed
to the next segment; where that takes too much memory, the segment is run again from where the last one ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, helper, numpy_helper

from autocompress.calibration.outputs import LoadedModel
from autocompress.graph.inference import element_types, infer_shapes
from autocompress.graph.model import model_bytes
from autocompress.graph.skeleton import skeleton
from autocompress.graph.specs import input_specs
from autocompress.graph.walk import names_read
from autocompress.runtimes.onnxruntime_session import native_session
from autocompress.runtimes.protocol import Array, Feeds, SessionOptions

Batches = Callable[[], Iterator[Mapping[str, npt.NDArray[np.generic]]]]


@dataclass(frozen=True, eq=False)
class Mark:
    """A place in a model that passes may start from.

    Attributes:
        start: position of the first node that is run.
        kept: the live tensors before it, batch by batch; None where they took too much memory.
    """

    start: int
    kept: list[dict[str, Array]] | None


class SegmentRunner:
    """Streams tensors of one model over batches of samples, in graph order.

    Args:
        model: its nodes in order; weights change only through ``replace``.
        batches: starts a pass over the samples, always in the same order.
        max_bytes: of live tensors kept between segments.
        threads: of the runtime.
    """

    def __init__(self, model: ModelProto, batches: Batches, *, max_bytes: int, threads: int = 1) -> None:
        self._model = model
        self._nodes = list(model.graph.node)
        self._weights = {weight.name: weight for weight in model.graph.initializer}
        light, _ = skeleton(model)
        self._types = element_types(infer_shapes(light))
        self._inputs = [spec.name for spec in input_specs(model)]
        self._outputs = [output.name for output in model.graph.output]
        self._position = {node.name: i for i, node in enumerate(self._nodes)}
        self._batches = batches
        self._max_bytes = max_bytes
        self._threads = threads
        self._start = 0
        self._kept: list[dict[str, Array]] | None = None

    def replace(self, weight: str, values: npt.NDArray[np.generic]) -> None:
        """Gives a weight other values, of the same shape and type, from now on."""
        self._weights[weight] = numpy_helper.from_array(np.ascontiguousarray(values), weight)

    def mark(self) -> Mark:
        """Where passes start now, to come back to after the weights behind it have changed."""
        return Mark(self._start, self._kept)

    def return_to(self, mark: Mark) -> None:
        """Lets the next pass start where ``mark`` was taken."""
        self._start, self._kept = mark.start, mark.kept

    def result(self, node: str) -> str:
        """Name of a node's first output."""
        name: str = self._nodes[self._position[node]].output[0]
        return name

    def input_of(self, node: str) -> Iterator[Array]:
        """The first input of a node, batch by batch; see ``stream``."""
        position = self._position[node]
        tensor = self._nodes[position].input[0]
        return (values[tensor] for values in self.stream([tensor], position))

    def output_of(self, node: str) -> Iterator[Array]:
        """The first output of a node, batch by batch; see ``stream``."""
        tensor = self.result(node)
        return (values[tensor] for values in self.behind(node, [tensor]))

    def behind(self, node: str, tensors: Sequence[str]) -> Iterator[dict[str, Array]]:
        """``stream`` up to and with a node; up to the start of the model for ""."""
        return self.stream(tensors, self._behind(node))

    def live_behind(self, node: str) -> list[str]:
        """Names of the tensors that later nodes read once a node has run; the model's inputs for ""."""
        return self.live(self._behind(node))

    def cut(self, source: str, result: str) -> ModelProto:
        """The nodes behind one node ("" for all from the start) up to and with another, as a model of their own."""
        return self._piece(self._behind(source), self._behind(result), [self.result(result)])

    def _behind(self, node: str) -> int:
        return self._position[node] + 1 if node else 0

    def stream(self, tensors: Sequence[str], position: int) -> Iterator[dict[str, Array]]:
        """Tensors by name, batch by batch, once every node before ``position`` has run.

        Positions must not decrease from call to call, but for ``return_to``.  A pass that is read to its end lets the
        next one start here.

        Args:
            tensors: model inputs, and what nodes before ``position`` compute and nodes from there on read; of the node
                right before it also what nobody reads.
            position: of the first node that is not run.
        """
        live = self.live(position)
        wanted = list(dict.fromkeys([*live, *tensors]))
        session = self._session(position, wanted)
        fed = self.live(self._start)
        kept: list[dict[str, Array]] | None = []
        kept_bytes = 0
        for given in self._kept if self._kept is not None else self._batches():
            values = dict(given) if session is None else {**given, **session.run({name: given[name] for name in fed})}
            yield {name: values[name] for name in tensors}
            kept_bytes += sum(values[name].nbytes for name in live)
            if kept is not None and kept_bytes <= self._max_bytes:
                kept.append({name: values[name] for name in live})
            else:
                kept = None
        if kept is not None:
            self._kept, self._start = kept, position

    def live(self, position: int) -> list[str]:
        """Inputs and computed tensors from before ``position`` that nodes from there on, or the model's user, read."""
        before = [*self._inputs, *(name for node in self._nodes[:position] for name in node.output if name)]
        read = {name for node in self._nodes[position:] for name in names_read(node)} | set(self._outputs)
        return [name for name in before if name in read]

    def _session(self, position: int, wanted: list[str]) -> LoadedModel | None:
        computed = {name for node in self._nodes[self._start : position] for name in node.output}
        outputs = [name for name in wanted if name in computed]
        return _Loaded(self._piece(self._start, position, outputs), outputs, self._threads) if outputs else None

    def _piece(self, start: int, stop: int, outputs: list[str]) -> ModelProto:
        nodes = self._nodes[start:stop]
        piece = ModelProto()
        piece.ir_version = self._model.ir_version
        piece.opset_import.extend(self._model.opset_import)
        piece.functions.extend(self._model.functions)
        piece.graph.name = "segment"
        piece.graph.node.extend(nodes)
        read = {name for node in nodes for name in names_read(node)}
        piece.graph.initializer.extend(self._weights[name] for name in self._weights if name in read)
        for names, values in ((self.live(start), piece.graph.input), (outputs, piece.graph.output)):
            values.extend(helper.make_tensor_value_info(name, self._types[name], None) for name in names)
        return piece


class _Loaded:
    """A segment in the runtime, in which Q/DQ pairs stay as they are.

    Else the runtime would give layers between them integer weights of its own (see quantize/stay_float.py).
    """

    def __init__(self, piece: ModelProto, outputs: list[str], threads: int) -> None:
        self._outputs = outputs
        self._session = native_session(model_bytes(piece), SessionOptions(threads=threads), adjust=_keep_qdq)

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Runs once; returns every output by name."""
        return dict(zip(self._outputs, self._session.run(None, dict(feeds)), strict=True))


def _keep_qdq(options: object) -> None:
    options.add_session_config_entry("session.disable_quant_qdq", "1")  # type: ignore[attr-defined]
