"""Makes inner tensors of a model visible, so that a session returns them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from autocompress.errors import ModelError
from autocompress.graph.inference import element_types, infer_shapes, static_shapes
from autocompress.graph.model import copy_model
from autocompress.graph.shapes import fix_shapes
from autocompress.graph.skeleton import skeleton
from autocompress.graph.specs import input_specs
from autocompress.graph.tensors import dtype_name, stored_bytes
from autocompress.runtimes.protocol import Array, Feeds

FLOAT_TYPES = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE})

_CHANNELS_FIRST = frozenset({"Conv", "ConvTranspose", "BatchNormalization", "InstanceNormalization"})
_CHANNELS_LAST = frozenset({"MatMul", "Gemm", "LayerNormalization"})


class LoadedModel(Protocol):
    """A model that can be run; every ``autocompress.runtimes.protocol.Session`` is one."""

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Runs once; returns every output by name."""
        ...


def with_tensor_outputs(model: ModelProto, tensors: Sequence[str]) -> ModelProto:
    """A copy whose outputs are exactly ``tensors``, in that order.

    The model's own outputs are dropped unless they are named, so that a runtime skips what nothing needs.

    Args:
        model: any model; not changed.
        tensors: names of floating-point tensors computed by nodes of the main graph, each once.

    Raises:
        ModelError: when a name is unknown, is a weight or a model input, or is not floating-point.
    """
    types = element_types(_annotated(model))
    computed = {name for node in model.graph.node for name in node.output}
    outputs = [_output(name, name in computed, types) for name in tensors]
    result = copy_model(model)
    del result.graph.output[:]
    result.graph.output.extend(outputs)
    return result


class ActivationSessions:
    """Opens sessions of one model that return chosen inner tensors.

    Attributes:
        input_names: names of the model's inputs.

    Args:
        model: the model; not changed.
        load: loads a model into the runtime of choice, e.g.
            ``lambda m: runtime.load(m.SerializeToString(), SessionOptions(threads=2))``.
    """

    def __init__(self, model: ModelProto, load: Callable[[ModelProto], LoadedModel]) -> None:
        self._model = model
        self._load = load
        self.input_names = frozenset(spec.name for spec in input_specs(model))

    def open(self, tensors: Sequence[str]) -> LoadedModel:
        """A session whose outputs are ``tensors`` (see ``with_tensor_outputs``)."""
        return self._load(with_tensor_outputs(self._model, tensors))

    def groups(
        self, tensors: Sequence[str], input_shapes: Mapping[str, Sequence[int]], max_bytes: int
    ) -> list[tuple[str, ...]]:
        """Splits tensors into groups, in graph order, whose total size stays within a bound.

        A tensor larger than the bound gets a group of its own.  A tensor whose size cannot be inferred counts as the
        largest of those that can.

        Args:
            tensors: names of computed tensors.
            input_shapes: input name -> concrete shape.
            max_bytes: bound for each group.
        """
        sizes = self._bytes(input_shapes)
        unknown = max((sizes[name] for name in tensors if name in sizes), default=0)
        order = {name: i for i, node in enumerate(self._model.graph.node) for name in node.output}
        groups: list[list[str]] = []
        total = 0
        for name in sorted(tensors, key=lambda name: order.get(name, len(order))):
            size = sizes.get(name, unknown)
            if not groups or total + size > max_bytes:
                groups.append([])
                total = 0
            groups[-1].append(name)
            total += size
        return [tuple(group) for group in groups]

    def channel_axes(self) -> dict[str, int]:
        """Tensor name -> channel axis, for tensors whose producer or consumer tells (-1 for the last axis)."""
        axes: dict[str, int] = {}
        for ops, axis in ((_CHANNELS_LAST, -1), (_CHANNELS_FIRST, 1)):
            for node in self._model.graph.node:
                if node.op_type in ops:
                    axes.update(dict.fromkeys([*node.input[:1], *node.output[:1]], axis))
        return axes

    def _bytes(self, input_shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
        light, _ = skeleton(self._model)
        annotated = infer_shapes(fix_shapes(light, input_shapes))
        types = element_types(annotated)
        return {name: stored_bytes(types[name], dims) for name, dims in static_shapes(annotated).items()}


def _annotated(model: ModelProto) -> ModelProto:
    light, _ = skeleton(model)
    return infer_shapes(light)


def _output(name: str, computed: bool, types: Mapping[str, int]) -> ValueInfoProto:
    if not computed:
        raise ModelError(
            f"no node computes a tensor {name!r}, so it cannot be calibrated; name tensors of this very model"
        )
    if name not in types:
        # Behind operators outside the standard, types are the runtime's own knowledge.
        return ValueInfoProto(name=name)
    if types[name] not in FLOAT_TYPES:
        raise ModelError(f"tensor {name!r} is {dtype_name(types[name])}; only floating-point tensors are calibrated")
    return helper.make_tensor_value_info(name, types[name], None)
