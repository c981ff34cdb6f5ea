"""What criteria work on, and steps that several share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from autocompress.errors import RecipeError
from autocompress.graph.channels import ChannelAnalysis, ChannelGroup, Member
from autocompress.graph.index import GraphIndex
from autocompress.passes.decompose.patches import Batches, Load

DoubleArray = npt.NDArray[np.float64]
Scores = dict[str, DoubleArray]
"""Group name -> importance of each of its units, of shape (size,); what is smallest goes first."""


@dataclass(frozen=True)
class Scoring:
    """The question that a criterion answers.

    Attributes:
        model: normalized and folded.
        analysis: its channels.
        groups: whose units to score.
        batches: starts a pass over unlabelled samples; None where there are none.
        load: loads a model to run; ONNX Runtime with one thread where None.
        original: the model as it was before batch normalization was folded; None where it is not at hand.
    """

    model: ModelProto
    analysis: ChannelAnalysis
    groups: tuple[ChannelGroup, ...]
    batches: Batches | None = None
    load: Load | None = None
    original: ModelProto | None = None

    def samples(self, criterion: str) -> Batches:
        """The samples.

        Raises:
            RecipeError: there are none.
        """
        if self.batches is None:
            raise RecipeError(f"prune step: the criterion {criterion!r} needs samples; give --data, or choose l2")
        return self.batches


Criterion = Callable[[Scoring], Scores]


def score_rows(scoring: Scoring, importance: Callable[[DoubleArray], DoubleArray]) -> Scores:
    """Scores units by the weights of the layers that compute them.

    A unit's rows in one layer are scored alone; each layer's scores have mean 1, so that no layer outvotes another by
    its scale, and add up over the coupled layers.

    Args:
        scoring: the question.
        importance: of shape (units, numbers of a unit) -> (units,).
    """
    index = GraphIndex(scoring.model)
    scores = {}
    for group in scoring.groups:
        total = np.zeros(group.size)
        for member in group.members:
            if member.role == "output":
                total += normalized(importance(unit_rows(index, group, member)))
        scores[group.name] = total
    return scores


def unit_rows(index: GraphIndex, group: ChannelGroup, member: Member) -> DoubleArray:
    """All numbers of each unit along one axis of a stored operand, of shape (units, numbers)."""
    values = np.moveaxis(np.asarray(index.weight(member.tensor), np.float64), member.axis, 0)
    rows = values.reshape(values.shape[0], -1)
    own = [rows[member.units == unit].reshape(-1) for unit in range(group.size)]
    width = max(row.size for row in own)
    return np.stack([np.pad(row, (0, width - row.size)) for row in own])


def per_unit(group: ChannelGroup, units: npt.NDArray[np.int64], values: DoubleArray) -> DoubleArray:
    """Sums values per index into values per unit; indices without unit are left out."""
    there = units >= 0
    sums: DoubleArray = np.bincount(units[there], values[there], minlength=group.size).astype(np.float64)
    return sums


def normalized(values: DoubleArray) -> DoubleArray:
    """The values over their mean; unchanged where all are zero."""
    mean = float(values.mean())
    return values / mean if mean > 0.0 else values


def axis_units(scoring: Scoring, group: ChannelGroup, tensor: str) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """The axes of a computed tensor on which a group has units: (axis, unit of each index)."""
    unit = scoring.analysis.followed.settled.unit
    number = {int(label): i for i, label in enumerate(group.labels)}
    for place, axis in enumerate(scoring.analysis.followed.axes.get(tensor, ())):
        if axis is None or axis.columns == 0:
            continue
        found = np.array([[number.get(int(unit[x]), -1) if x >= 0 else -1 for x in row] for row in axis.labels])
        if (found >= 0).any():
            yield place, found.max(axis=1)


def tensors_of(scoring: Scoring) -> Mapping[str, tuple[str, ...]]:
    """Group name -> the tensors that show its activations: what its readers read, else what its layers compute."""
    index = GraphIndex(scoring.model)
    result = {}
    for group in scoring.groups:
        read = [index.nodes[name].input[0] for name in group.readers]
        computed = [name for name in dict.fromkeys(read) if not index.is_constant(name) and name not in index.inputs]
        result[group.name] = tuple(computed or (index.nodes[name].output[0] for name in group.layers))
    return result
