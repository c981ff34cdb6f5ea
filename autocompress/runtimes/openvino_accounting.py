"""Times of operators within a run of their model, from OpenVINO's own account.

Each node's account is its total in whole microseconds, every run rounded down, divided by the number of runs and
rounded down again.  With the account read after the warm-up and at the end,

    latency = ((runs * (account + 1/2) - warm * (account_warm + 1/2)) / (runs - warm)) + 1/2,

where each half is what rounding down takes on average.  The account cannot be reset, so one disturbed run stays in it:
a round during which the scheduler took the processor away is repeated with the model compiled anew, and the shortest
time of each operator over the rounds that count is taken.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from autocompress.runtimes.openvino_graph import ExecutedGraph, accounts_us, executed_graph
from autocompress.runtimes.openvino_session import BoundRequest
from autocompress.runtimes.protocol import Feeds

RESOLUTION_US = 1.0
_ROUNDS = 1  # undisturbed ones; compiling takes longer than running, and callers ask again anyway
_MOST_ROUNDS = 3
_WARM_RUNS = 3
_FEWEST_RUNS = 10
_BELOW_RESOLUTION_US = 0.5  # an account of zero: something between nothing and a microsecond


@dataclass(frozen=True)
class _Round:
    graph: ExecutedGraph
    latencies_us: tuple[float, ...]
    disturbed: bool


def account_for(compile_again: Callable[[], Any], feeds: Feeds, budget_s: float) -> tuple[ExecutedGraph, list[float]]:
    """Times every executed node of a model.

    Args:
        compile_again: compiles the model anew, with accounting.
        feeds: one array per input.
        budget_s: seconds to spend on runs, compiling not included.

    Returns:
        (the executed graph, microseconds of each of its nodes).
    """
    rounds: list[_Round] = []
    while len(rounds) < _ROUNDS or (len(rounds) < _MOST_ROUNDS and len(_undisturbed(rounds)) < _ROUNDS):
        rounds.append(_round(compile_again(), feeds, budget_s / _ROUNDS))
    graph = rounds[0].graph
    kind = [node.kernel for node in graph.nodes]
    alike = [r for r in rounds if [node.kernel for node in r.graph.nodes] == kind]
    counted = _undisturbed(alike) or alike
    return graph, [min(times) for times in zip(*(r.latencies_us for r in counted), strict=True)]


def _undisturbed(rounds: Sequence[_Round]) -> list[_Round]:
    return [r for r in rounds if not r.disturbed]


def _round(compiled: Any, feeds: Feeds, budget_s: float) -> _Round:
    request = BoundRequest(compiled, feeds)
    request.infer()
    graph = executed_graph(compiled)
    for _ in range(_WARM_RUNS - 1):
        request.infer()
    warm = accounts_us(compiled)
    switches, runs, end = _switches(), 0, time.perf_counter() + budget_s
    while runs < _FEWEST_RUNS or time.perf_counter() < end:
        request.infer()
        runs += 1
    disturbed = _switches() > switches
    account = accounts_us(compiled)
    latencies_us = [_latency_us(warm[node.name], account[node.name], runs) for node in graph.nodes]
    return _Round(graph, tuple(latencies_us), disturbed)


def _latency_us(warm_us: int, account_us: int, runs: int) -> float:
    """Microseconds of one execution, from the accounts after the warm-up and after ``runs`` more runs."""
    if account_us == 0:
        return _BELOW_RESOLUTION_US
    total = (_WARM_RUNS + runs) * (account_us + 0.5) - _WARM_RUNS * (warm_us + 0.5)
    return max(total / runs + 0.5, _BELOW_RESOLUTION_US)


def _switches() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
