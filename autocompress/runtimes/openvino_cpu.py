"""OpenVINO on the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import openvino

from autocompress.errors import RuntimeFailure
from autocompress.runtimes.failure import runtime_failure
from autocompress.runtimes.float_environment import flushed_denormals
from autocompress.runtimes.openvino_accounting import RESOLUTION_US, account_for
from autocompress.runtimes.openvino_given import given_model
from autocompress.runtimes.openvino_graph import executed_graph
from autocompress.runtimes.openvino_operators import operators_of
from autocompress.runtimes.openvino_rules import RULES
from autocompress.runtimes.openvino_session import (
    NAME,
    BoundRequest,
    OpenVinoSession,
    compile_network,
    read_network,
    shapes_of,
)
from autocompress.runtimes.protocol import ExecutedOp, Feeds, OpTime, QuantizationRules, SessionOptions

_DEFAULT_OPTIONS = SessionOptions()


class OpenVinoCpu:
    """OpenVINO's CPU plugin; see ``autocompress.runtimes.protocol.InPlaceRuntime``."""

    name: str = NAME
    version: str = str(openvino.__version__).partition("-")[0]
    quantization: QuantizationRules = RULES

    def load(self, model: bytes | str, options: SessionOptions = _DEFAULT_OPTIONS) -> OpenVinoSession:
        """Loads a model from serialized bytes or from a path."""
        return OpenVinoSession(model, options)

    def executed_ops(
        self, model: bytes | str, feeds: Feeds, *, threads: int = 1, standalone: bool = True
    ) -> Sequence[ExecutedOp]:
        """The graph as executed on ``feeds``; no operator can be cut out of it, whatever ``standalone`` says."""
        with given_model(model) as given, _running():
            network, feeds = _sized(given.loadable, feeds)
            compiled = compile_network(network, threads, accounting=True)
            BoundRequest(compiled, feeds).infer()
            return operators_of(executed_graph(compiled), given, network)

    def time_in_place(
        self, model: bytes | str, feeds: Feeds, *, threads: int = 1, budget_s: float = 0.5
    ) -> Sequence[OpTime]:
        """Every executed operator with its time within a run of the model."""
        with given_model(model) as given, _running():
            network, feeds = _sized(given.loadable, feeds)
            graph, latencies_us = account_for(
                lambda: compile_network(network, threads, accounting=True), feeds, budget_s
            )
            ops = operators_of(graph, given, network)
        return [OpTime(op, latency_us, RESOLUTION_US) for op, latency_us in zip(ops, latencies_us, strict=True)]

    def replicate(self, standalone: bytes, copies: int) -> bytes:
        """Not possible: an operator alone is compiled to something else than within its model.

        Raises:
            RuntimeFailure: always.
        """
        raise RuntimeFailure(f"{NAME} has no operators that run alone; use time_in_place to time them within a model")


def _sized(model: bytes | str, feeds: Feeds) -> tuple[Any, Feeds]:
    """The model for the sizes of the feeds, and those of the feeds that something reads."""
    network = read_network(model)
    names = {name for port in network.inputs for name in port.get_names()}
    read = {name: values for name, values in feeds.items() if name in names}
    if len(read) < len(network.inputs):
        raise ValueError(f"the inputs are {', '.join(sorted(names))}, not {', '.join(sorted(feeds)) or 'none'}")
    network.reshape({name: list(shape) for name, shape in shapes_of(read)})
    return network, read


@contextmanager
def _running() -> Iterator[None]:
    with flushed_denormals():
        try:
            yield
        except RuntimeFailure:
            raise
        except Exception as error:  # the bindings raise bare RuntimeError, and others for wrong arrays
            raise runtime_failure(NAME, "failed while running the model", error) from error
