"""Which inner tensors of student and teacher are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from onnx import ModelProto

from autocompress.errors import RecipeError
from autocompress.graph.index import GraphIndex
from autocompress.graph.torch_execution.torch_graph import TorchGraph
from autocompress.passes.recover.resampling import resampled
from autocompress.passes.recover.twins import channel_axis, channels_of

MOST_FEATURES = 8
_ACTIVATIONS = frozenset({"Relu", "Clip", "LeakyRelu", "PRelu", "Sigmoid", "Tanh", "HardSwish", "Gelu", "Elu", "Swish"})
_LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def chosen_features(
    student: TorchGraph,
    teacher: TorchGraph,
    models: tuple[ModelProto, ModelProto],
    feeds: Mapping[str, object],
    asked: Sequence[str] | None,
    twins: Mapping[str, torch.Tensor] | None = None,
) -> list[str]:
    """Names of tensors that mean the same in both models, in graph order.

    Where branches join (residual sums), layers before them can be pruned freely, so these come first; without joints,
    results of layers and activations are taken.  A tensor is left out where its shape differs (and ``twins`` does not
    say which channels are left), or where the student has silenced a channel that the teacher uses.  Another height and
    width, of a student that computes with smaller images, does not count: the teacher's map is resampled then.

    Args:
        student: being trained.
        teacher: the original.
        models: both as ONNX, in the same order.
        feeds: a few samples.
        asked: names to use instead; None chooses.
        twins: result of a layer -> channels of the teacher that the student still computes.

    Raises:
        RecipeError: an asked tensor does not exist in both with the same shape.
    """
    candidates = list(asked) if asked is not None else _joints(models[0]) or _layer_results(models[0])
    known = set(GraphIndex(models[1]).producers) & set(GraphIndex(models[0]).producers)
    names = [name for name in candidates if name in known]
    with torch.no_grad():
        own, wanted = student.run(feeds, names), teacher.run(feeds, names)
    if twins and asked is None:
        wanted = {n: _left(own[n], v, twins[n]) if n in twins else v for n, v in wanted.items()}
    wanted = {name: resampled(value, own[name]) for name, value in wanted.items()}
    fitting = [name for name in names if own[name].is_floating_point() and own[name].shape == wanted[name].shape]
    if asked is not None:
        if lost := [name for name in candidates if name not in fitting]:
            raise RecipeError(
                f"recover step: tensor {lost[0]!r} does not have one shape in the original and in the compressed "
                "model, so it cannot be a feature; name another or leave features out"
            )
        return fitting
    outputs = set(student.outputs)
    alive = [n for n in fitting if n not in outputs and own[n].dim() > 1 and not _silenced(own[n], wanted[n])]
    return _spread(alive, MOST_FEATURES)


def _left(own: torch.Tensor, wanted: torch.Tensor, channels: torch.Tensor) -> torch.Tensor:
    """The teacher's channels that the student still computes, where they lie as expected."""
    axis = channel_axis(wanted)
    fits = own.dim() == wanted.dim() and own.shape[axis] == len(channels) and int(channels[-1]) < wanted.shape[axis]
    return channels_of(wanted, channels, axis) if fits else wanted


def _joints(model: ModelProto) -> list[str]:
    """Results of sums of two computed tensors, after the activation that directly follows."""
    index = GraphIndex(model)
    names: list[str] = []
    for node in model.graph.node:
        if node.op_type == "Add" and all(name in index.producers for name in node.input):
            follower = index.sole_consumer(node.output[0])
            active = follower is not None and follower.op_type in _ACTIVATIONS
            names.append(follower.output[0] if active and follower is not None else node.output[0])
    return names


def _layer_results(model: ModelProto) -> list[str]:
    return [node.output[0] for node in model.graph.node if node.op_type in _LAYERS | _ACTIVATIONS]


def _silenced(own: torch.Tensor, wanted: torch.Tensor) -> bool:
    """Whether a channel is constant in the student and not in the teacher."""
    axis = channel_axis(own)
    others = tuple(a for a in range(own.dim()) if a != axis)
    flat, lively = (t.amax(others) - t.amin(others) for t in (own, wanted))
    return bool(((flat == 0) & (lively > 0)).any())


def _spread(names: list[str], most: int) -> list[str]:
    """At most ``most`` of the names, evenly over the depth, the last included."""
    if len(names) <= most:
        return names
    return [names[round((position + 1) * len(names) / most) - 1] for position in range(most)]
