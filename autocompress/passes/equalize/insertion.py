"""Scaling where no producer can take the factors: an elementwise Mul in front of the layers that read a tensor.

    W x = (W s) (x / s)

The tensor itself stays as it is for all its other readers (a residual connection, for example), so this is always
exact; it costs one pass over the tensor at run time.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, helper, numpy_helper

from autocompress.errors import RecipeError
from autocompress.graph.rewrite import free_name, tensor_names
from autocompress.passes.equalize.channel_group import ChannelGroup, Reader
from autocompress.passes.equalize.network import DoubleArray, Network, NotScalable, input_channels
from autocompress.passes.equalize.scaling import WeightEditor, checked_factors

_MATRICES = ("Gemm", "MatMul")


def find_insertion(network: Network, tensor: str) -> ChannelGroup:
    """The channels of a tensor as the layers that multiply it by a matrix read them; the group has no producers.

    Raises:
        NotScalable: there are no such layers, or their weights cannot be scaled.
    """
    nodes = [node for node in network.index.consumers.get(tensor, []) if _reads(network, node, tensor)]
    if not nodes:
        raise NotScalable(f"no layer with a constant matrix reads {tensor!r}")
    for node in nodes:
        network.check_constant(node.input[1])
        network.check_own(node.input[1])
    channels = input_channels(nodes[0], network.index.initializers[nodes[0].input[1]])
    readers = tuple(Reader(node.name, np.arange(channels)) for node in nodes)
    return ChannelGroup(tensor, channels, (), readers, {}, {}, {})


def with_multiplications(model: ModelProto, inserted: Mapping[str, npt.NDArray[np.float64]]) -> ModelProto:
    """A copy in which the named tensors are divided before their layers, whose weights undo it.

    Raises:
        RecipeError: the model has no such tensor, or the factors do not fit it.
    """
    network = Network(model)
    editor = WeightEditor(model)
    sites = []
    for tensor, factors in inserted.items():
        try:
            site = find_insertion(network, tensor)
        except NotScalable as reason:
            raise RecipeError(f"the recipe divides {tensor!r}, which this model does not allow: {reason}") from reason
        sites.append((site, checked_factors(tensor, factors, site.channels)))
        editor.divide(*sites[-1])
    changed = editor.model()
    for site, values in sites:
        _insert(changed, site, values)
    return changed


def multiplications(model: ModelProto, tensors: Mapping[str, DoubleArray]) -> tuple[str, ...]:
    """Names of the Muls that stand behind the given tensors."""
    return tuple(
        node.name
        for node in model.graph.node
        if node.op_type == "Mul" and node.input[0] in tensors and node.name.startswith(_name(node.input[0]))
    )


def _name(tensor: str) -> str:
    return f"{tensor}_smoothed"


def _reads(network: Network, node: NodeProto, tensor: str) -> bool:
    return node.op_type in _MATRICES and network.has_layer_weight(node) and list(node.input).index(tensor) == 0


def _insert(model: ModelProto, site: ChannelGroup, factors: DoubleArray) -> None:
    names = tensor_names(model) | {node.name for node in model.graph.node}
    result = free_name(_name(site.anchor), names)
    inverse = free_name(f"{result}_factors", names | {result})
    wanted = {reader.node for reader in site.readers}
    readers = [i for i, node in enumerate(model.graph.node) if node.name in wanted]
    weight = next(w for w in model.graph.initializer if w.name == model.graph.node[readers[0]].input[1])
    values = (1.0 / factors).astype(helper.tensor_dtype_to_np_dtype(weight.data_type))
    model.graph.initializer.append(numpy_helper.from_array(values, inverse))
    for i in readers:
        model.graph.node[i].input[0] = result
    model.graph.node.insert(readers[0], helper.make_node("Mul", [site.anchor, inverse], [result], name=result))
