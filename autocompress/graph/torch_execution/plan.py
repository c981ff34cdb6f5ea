"""Which nodes have to run, in which order, to get chosen tensors from given ones."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from onnx import NodeProto

from autocompress.errors import ModelError
from autocompress.graph.torch_execution.call import Call, Operator, Tensor
from autocompress.graph.torch_execution.operators import OPERATORS
from autocompress.graph.walk import is_standard, node_label


@dataclass(frozen=True)
class Step:
    """One node to run.

    Attributes:
        operator: its function.
        call: its attributes.
        inputs: operands by name, "" for an omitted one.
        outputs: results by name, "" for one that nobody wants.
        last_read: tensors that nothing reads after this step.
    """

    operator: Operator
    call: Call
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    last_read: tuple[str, ...]

    def run(self, values: dict[str, Tensor]) -> None:
        """Adds the results to the tensors that there are, and drops what nothing reads any more."""
        operands = [values[name] if name else None for name in self.inputs]
        results = self.operator(self.call, *operands)
        if isinstance(results, torch.Tensor):
            results = (results,)
        # An operator may give results that the node does not list.
        values.update((name, result) for name, result in zip(self.outputs, results, strict=False) if name)
        for name in self.last_read:
            del values[name]


def plan_steps(
    calls: Sequence[Call], given: Collection[str], stored: Collection[str], wanted: Sequence[str]
) -> tuple[Step, ...]:
    """The steps that compute ``wanted``.

    Args:
        calls: every node of the graph, each after its producers.
        given: tensors that the caller supplies; what lies before them is not run.
        stored: weights and constants.
        wanted: tensors to compute.

    Raises:
        ModelError: a wanted tensor does not follow from the given ones, or an operator is not known.
    """
    needed = {name for name in wanted if name not in given and name not in stored}
    kept: list[Call] = []
    for call in reversed(calls):
        if needed.isdisjoint(call.node.output):
            continue
        needed.difference_update(call.node.output)
        needed.update(name for name in call.node.input if name and name not in given and name not in stored)
        kept.append(call)
    if needed:
        raise ModelError(
            f"{', '.join(sorted(wanted))} cannot be computed from {', '.join(sorted(given)) or 'nothing'}: tensor "
            f"{min(needed)!r} is missing; give it, or begin further ahead in the graph"
        )
    return _with_lifetimes(kept, set(given) | set(stored) | set(wanted))


def operator_of(node: NodeProto) -> Operator:
    """The function that executes a node.

    Raises:
        ModelError: there is none.
    """
    if not is_standard(node.domain) or node.op_type not in OPERATORS:
        domain = "" if is_standard(node.domain) else f"{node.domain}."
        raise ModelError(
            f"operator {domain}{node.op_type} of node {node_label(node)} cannot be run or trained in torch; "
            "leave this part of the model out of training"
        )
    return OPERATORS[node.op_type]


def _with_lifetimes(kept: Sequence[Call], permanent: Collection[str]) -> tuple[Step, ...]:
    """Steps in order of execution, each with what may be dropped after it; ``kept`` runs backwards."""
    seen: set[str] = set(permanent)
    steps: list[Step] = []
    for call in kept:
        names = dict.fromkeys([*call.node.input, *call.node.output])
        last_read = tuple(name for name in names if name and name not in seen)
        seen.update(names)
        steps.append(Step(operator_of(call.node), call, tuple(call.node.input), tuple(call.node.output), last_read))
    return tuple(reversed(steps))
