"""Distillation of one part after another: blocks between features, or single layers.

A part reads what the student computes ahead of it (with the parts before already trained) and is trained to give what
the teacher has at its end.  Nothing larger than a part is differentiated, so memory and time per step are small.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from autocompress.errors import RecipeError
from autocompress.graph.torch_execution.torch_graph import SubGraph
from autocompress.passes.recover.config import RecoverConfig
from autocompress.passes.recover.features import chosen_features
from autocompress.passes.recover.linear_layer import linear_layers
from autocompress.passes.recover.losses import TensorLoss, feature_loss
from autocompress.passes.recover.pair import Pair
from autocompress.passes.recover.samples import Samples, Shuffled
from autocompress.passes.recover.training import Problem, Training
from autocompress.passes.recover.walk import Walk
from autocompress.progress import Progress

_FEWEST_STEPS = 20
_UNITS_AT_ONCE = 16


@dataclass
class _Part:
    """A part of the student with its inputs and targets, in the batches in which they were computed."""

    graph: SubGraph
    inputs: list[dict[str, torch.Tensor]]
    targets: list[torch.Tensor]
    loss: TensorLoss

    def batch(self, places: Sequence[tuple[int, int]]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Inputs and target of the units at these places, given as batch and row."""
        inputs = {name: torch.stack([self.inputs[c][name][row] for c, row in places]) for name in self.graph.inputs}
        return inputs, torch.stack([self.targets[c][row] for c, row in places])


def train_parts(
    pair: Pair, samples: Samples, config: RecoverConfig, progress: Progress, deadline_s: float | None
) -> dict[str, Any]:
    """Trains the student's parts in graph order, with an equal share of the steps each.

    Returns:
        Losses before and after (means over parts), steps, and the tensors that end the parts.

    Raises:
        RecipeError: the samples cannot be put into batches freely.
    """
    if not samples.is_mixable:
        raise RecipeError(
            f"recover step: {config.distillation} distillation needs samples of one shape and a free batch size; "
            "use end_to_end"
        )
    ends = _ends(pair, samples, config)
    train, held_out = samples.split(config.held_out, config.seed)
    positions = np.concatenate([train, held_out]) if len(train) < len(samples) else train
    chunks = [batch.feeds for batch in samples.in_order(positions, _UNITS_AT_ONCE)]
    wanted = Walk(pair.teacher, chunks, ends)
    steps = max(_FEWEST_STEPS, config.total_steps // max(1, len(ends)))
    limit_s = None if deadline_s is None else deadline_s / max(1, len(ends))
    trained: set[str] = set()
    losses: list[tuple[float, float]] = []
    taken = 0
    values: list[dict[str, Any]] = [dict(chunk) for chunk in chunks]
    for end in ends:
        with torch.no_grad():
            targets = wanted.advance()
        names = [
            n for n in pair.student.weights_between(list(values[0]), [end]) if n in pair.names and n not in trained
        ]
        if names:
            part = _part(pair, values, targets, end)
            training = _train_part(pair, part, names, (len(train), steps, limit_s), config, progress)
            losses.append((training.first_loss, training.best_loss))
            trained.update(names)
            taken += training.step
        with torch.no_grad():
            for chunk in values:
                chunk.update(pair.student.run(chunk, [end]))
        _forget(pair, values, ends, end)
    return {
        "steps": taken,
        "loss_before": math.fsum(before for before, _ in losses) / max(1, len(losses)),
        "loss_after": math.fsum(after for _, after in losses) / max(1, len(losses)),
        "features": list(ends),
    }


def _ends(pair: Pair, samples: Samples, config: RecoverConfig) -> list[str]:
    """Tensors that end the parts, in graph order; the outputs of the graph are the last."""
    feeds = samples.take(np.arange(min(len(samples), 8)))[0].feeds
    if config.distillation == "layer_wise":
        layers = {layer.node.output[0] for layer in linear_layers(pair.models[0], pair.student)}
        with torch.no_grad():
            shared = [n for n in _computed(pair) if n in layers]
            own, other = pair.student.run(feeds, shared), pair.teacher.run(feeds, shared)
        count = len(next(iter(feeds.values())))
        names = [n for n in shared if own[n].shape == other[n].shape and own[n].shape[0] == count]
    else:
        names = chosen_features(pair.student, pair.teacher, pair.models, feeds, config.features)
    outputs = [name for name in pair.student.outputs if name not in names]
    return [*names, *outputs]


def _computed(pair: Pair) -> list[str]:
    """Tensors that both graphs compute, in the student's order."""
    known = {name for node in pair.models[1].graph.node for name in node.output}
    return [name for node in pair.models[0].graph.node for name in node.output if name in known]


def _part(pair: Pair, values: Sequence[dict[str, Any]], targets: Sequence[torch.Tensor], end: str) -> _Part:
    read = sorted(pair.student.tensors_read(values[0], [end]))
    graph = pair.student.subgraph(read, [end])
    inputs = [{name: torch.as_tensor(chunk[name]) for name in read} for chunk in values]
    return _Part(graph, inputs, list(targets), feature_loss(targets[0], 1.0))


def _train_part(
    pair: Pair,
    part: _Part,
    names: list[str],
    share: tuple[int, int, float | None],
    config: RecoverConfig,
    progress: Progress,
) -> Training:
    units, steps, limit_s = share
    end = part.graph.outputs[0]
    places = [(chunk, row) for chunk, target in enumerate(part.targets) for row in range(len(target))]
    count = len(places)
    fit = np.arange(min(units, count))
    judge = np.arange(units, count) if units < count else fit
    order = Shuffled(fit, config.batch_size, config.seed)

    def compared(positions: Any) -> torch.Tensor:
        inputs, target = part.batch([places[position] for position in positions])
        return part.loss(part.graph(inputs)[end], target)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def judged() -> float:
        size = 2 * config.batch_size
        starts = range(0, len(judge), size)
        total = sum(float(compared(judge[s : s + size])) * len(judge[s : s + size]) for s in starts)
        return total / len(judge)

    def learn(step: int) -> float:
        loss = compared(order.at(step))
        loss.backward()
        return float(loss.detach())

    problem = Problem(
        pair.parameters(names), pair.scales(names, config), learn, judged, pair.masks_of(names)
    )  # fmt: skip
    training = Training(problem, config, steps, progress, limit_s)
    training.run()
    return training


def _forget(pair: Pair, values: Sequence[dict[str, Any]], ends: Sequence[str], end: str) -> None:
    """Drops what no later part reads."""
    left = list(ends)[list(ends).index(end) + 1 :]
    needed = pair.student.tensors_read(values[0], left) if left else set()
    for chunk in values:
        for name in set(chunk) - needed:
            del chunk[name]
