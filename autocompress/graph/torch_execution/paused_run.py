"""One run of a graph that stops at chosen tensors and holds only what is still to be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autocompress.graph.torch_execution.call import Tensor
from autocompress.graph.torch_execution.torch_graph import TorchGraph
from autocompress.graph.torch_execution.values import as_tensor
from autocompress.graph.torch_execution.weights import Array


class PausedRun:
    """Stops at one tensor after another; nothing is computed twice.

    Weights are read when their node runs, so a change of a weight counts for all nodes behind the present stop.

    Args:
        graph: to run.
        inputs: of the graph, by name.
        tensors: to stop at, in an order in which the graph computes them; one may stand there several times.

    Raises:
        ModelError: a tensor does not follow from the inputs, or an operator on the way is not known.
    """

    def __init__(self, graph: TorchGraph, inputs: Mapping[str, Tensor | Array], tensors: Sequence[str]) -> None:
        self._graph = graph
        self._values = {name: as_tensor(value, graph.dtype) for name, value in inputs.items()}
        self._steps = graph.steps(frozenset(self._values), tuple(tensors))
        self._last_reader = {name: at for at, step in enumerate(self._steps) for name in step.inputs}
        self._stops = list(tensors)
        self._at = 0  # the step to run next
        self._drop_unread()

    def advance(self) -> Tensor:
        """The next tensor to stop at."""
        stop = self._stops[0]
        while stop not in self._values and not self._graph.is_stored(stop):
            self._run_step()
        value = self._values[stop] if stop in self._values else self._graph.stored_value(stop)
        self._stops.pop(0)
        self._drop_unread()
        return value

    def held_bytes(self) -> int:
        """Memory of the tensors that wait for a reader, one that the caller may have let go of already included."""
        pieces = {v.untyped_storage().data_ptr(): v.untyped_storage().nbytes() for v in self._values.values()}
        return sum(pieces.values())

    def _run_step(self) -> None:
        step = self._steps[self._at]
        stored = {n for n in step.inputs if n and n not in self._values and self._graph.is_stored(n)}
        self._values.update((name, self._graph.stored_value(name)) for name in stored)
        step.run(self._values)
        for name in stored:
            del self._values[name]
        self._at += 1
        self._drop_unread()

    def _drop_unread(self) -> None:
        """Lets go of inputs and stops; the steps themselves drop everything else."""
        for name in set(self._values).difference(self._stops):
            if self._last_reader.get(name, -1) < self._at:
                del self._values[name]
